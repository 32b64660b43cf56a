{{- /* Where everything runs that a stopped node must not take away. */}}
{{- define "monitoring.placement" -}}
nodeSelector: { node-role.kubernetes.io/control-plane: "" }
tolerations:
  - { key: node-role.kubernetes.io/control-plane, operator: Exists, effect: NoSchedule }
{{- end }}

{{- /* Nobody, and nothing to be done with it. */}}
{{- define "monitoring.unprivileged" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- define "monitoring.address" }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  labels: { app.kubernetes.io/name: {{ .name }} }
spec:
  type: LoadBalancer
  selector: {{- toYaml .selector | nindent 4 }}
  ports:
    - name: web
      port: {{ .port }}
      {{- with .nodePort }}
      nodePort: {{ . }}
      {{- end }}
{{- end }}
