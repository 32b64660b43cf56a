{{- /* How instances reach the archive: to write to it, or to come from it. */}}
{{- define "postgres-cnpg.store" -}}
destinationPath: s3://{{ .bucket }}/
endpointURL: {{ .endpoint }}
s3Credentials:
  accessKeyId: { name: {{ .secret }}, key: ACCESS_KEY_ID }
  secretAccessKey: { name: {{ .secret }}, key: ACCESS_SECRET_KEY }
wal:
  {{- toYaml .wal | nindent 2 }}
data:
  {{- toYaml .data | nindent 2 }}
{{- end }}
