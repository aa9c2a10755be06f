{{- define "weir.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "weir.labels" -}}
app.kubernetes.io/name: tokenweir
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "weir.selector" -}}
app.kubernetes.io/name: tokenweir
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weir.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end }}

{{- define "weir.environment" -}}
{{- range .Values.secrets.existing }}
- secretRef: { name: {{ . | quote }} }
{{- end }}
{{- if .Values.secrets.create }}
- secretRef: { name: {{ include "weir.name" . }} }
{{- end }}
{{- end }}

{{- define "weir.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "weir.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- /* What would lose money or reach nobody is refused before anything is installed. */ -}}
{{- define "weir.check" -}}
{{- $database := .Values.config.database | default "sqlite:///weir.db" -}}
{{- $many := or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled -}}
{{- if and $many (hasPrefix "sqlite" $database) -}}
{{- fail "more than one gateway needs one ledger: set config.database to a PostgreSQL, such as \"${DATABASE_URL}\" with that variable in a Secret named in secrets.existing" -}}
{{- end -}}
{{- if and $many (not .Values.config.shared_state) -}}
{{- fail "more than one gateway needs shared budgets: set config.shared_state to a Redis-compatible server, such as \"${REDIS_URL}\"" -}}
{{- end -}}
{{- if and .Values.dashboard.enabled (not .Values.config.people) (not .Values.dashboard.withoutLogin) -}}
{{- fail "the dashboard shows every bill: name config.people, or set dashboard.withoutLogin where something in front asks who is there" -}}
{{- end -}}
{{- end }}

{{- define "weir.onSqlite" -}}
{{- if hasPrefix "sqlite" (.Values.config.database | default "sqlite:///weir.db") }}yes{{ end -}}
{{- end }}

{{- define "weir.dashboardContainer" -}}
name: dashboard
image: {{ include "weir.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - dashboard
  - --config=/etc/weir/weir.yaml
  - --host=0.0.0.0
  - --port={{ .Values.dashboard.port }}
  - --gateway=http://{{ include "weir.name" . }}:{{ .Values.service.port }}
  {{- if .Values.dashboard.withoutLogin }}
  - --without-login
  {{- end }}
envFrom: {{- include "weir.environment" . | nindent 2 }}
ports: [{ name: dashboard, containerPort: {{ .Values.dashboard.port }} }]
readinessProbe:
  httpGet: { path: /_stcore/health, port: dashboard }
  periodSeconds: 10
livenessProbe:
  httpGet: { path: /_stcore/health, port: dashboard }
  initialDelaySeconds: 30
  periodSeconds: 30
securityContext: {{- include "weir.security" . | nindent 2 }}
resources: {{- toYaml .Values.dashboard.resources | nindent 2 }}
{{- end }}
