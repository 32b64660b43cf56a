{{- /* Where everything runs that a stopped node must not take away. */}}
{{- define "monitoring.placement" -}}
nodeSelector: { node-role.kubernetes.io/control-plane: "" }
tolerations:
  - { key: node-role.kubernetes.io/control-plane, operator: Exists, effect: NoSchedule }
{{- end }}

{{- /* Security context of an unprivileged container. */}}
{{- define "monitoring.unprivileged" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- /* Of an object, never of a pod or a selector: those of a deployment cannot be changed. */}}
{{- define "monitoring.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .top.Release.Name }}
app.kubernetes.io/part-of: pgdrill
app.kubernetes.io/managed-by: {{ .top.Release.Service }}
helm.sh/chart: {{ .top.Chart.Name }}-{{ .top.Chart.Version }}
{{- end }}

{{- define "monitoring.address" }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  labels: {{- include "monitoring.labels" . | nindent 4 }}
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
