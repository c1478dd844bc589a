{{- define "faust-operator.selector" -}}
app.kubernetes.io/name: faust-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "faust-operator.labels" -}}
{{ include "faust-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}
