{{- /*
What a value is that is missing: as in values.yaml, where nothing is no choice. `helm upgrade --reuse-values` hands over the values of the
chart that was installed before, without those that are new; and `null` takes a value out.
*/ -}}
{{- define "ashore.defaults" -}}
replicas: 2
image: {repository: ashore, pullPolicy: IfNotPresent}
crds: {enabled: true, keep: true}
webhook: {failurePolicy: Ignore, timeout: 5s}
missedPods: {enabled: true, every: 1m}
remedy: {enabled: false}
reports: {enabled: true, events: warnings, keep: forced, perWorkload: 20, days: 7}
delivery: {imageVolume: {enabled: ""}, configMap: {enabled: ""}}
lookup:
  enabled: true
  tagLifetime: 5m
  alwaysLifetime: 30s
  failureLifetime: 30s
  cacheSize: 16Mi
  pullSecrets: {enabled: true}
certificates: {mode: self, issuerRef: {kind: Issuer, group: cert-manager.io}}
shutdown: {delay: 5s, drainTimeout: 20s}
log: {level: info, format: json}
tracing: {sampleRatio: 1}
port: 8443
healthPort: 0
hostNetwork: false
caBundle: {key: ca.crt}
priorityQuota: true
podDisruptionBudget: {enabled: true, maxUnavailable: 1}
serviceAccount: {create: true}
service: {port: 443}
serviceMonitor: {}
dashboards: {label: grafana_dashboard, labelValue: "1"}
prometheusRule: {thresholds: {forcedKills: 10, graceUsed: 0.8, admissionErrors: 0.01, admissionSeconds: 1}}
networkPolicy: {}
test: {}
{{- end -}}

{{- /* Fills in what is missing. Every template begins with it. */ -}}
{{- define "ashore.fill" -}}
{{- include "ashore.fillIn" (dict "from" (include "ashore.defaults" . | fromYaml) "into" .Values) -}}
{{- end -}}
{{- define "ashore.fillIn" -}}
{{- $into := .into -}}
{{- range $name, $default := .from -}}
{{- if or (not (hasKey $into $name)) (kindIs "invalid" (get $into $name)) -}}
{{- $_ := set $into $name $default -}}
{{- else if kindIs "map" $default -}}
{{- include "ashore.fillIn" (dict "from" $default "into" (get $into $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* How the init may reach pods besides an init container, comma-separated. */ -}}
{{- define "ashore.deliveries" -}}
{{- $asked := default "initContainer" (default dict .Values.policy).delivery -}}
{{- $may := list -}}
{{- range $name := list "imageVolume" "configMap" -}}
{{- $enabled := (get $.Values.delivery $name).enabled -}}
{{- if ternary (has $asked (list $name "auto")) $enabled (kindIs "string" $enabled) -}}
{{- $may = append $may $name -}}
{{- end -}}
{{- end -}}
{{- join "," $may -}}
{{- end -}}

{{- /* The base of every object's name; a release may have dots in its name, a Service may not. */ -}}
{{- define "ashore.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | replace "." "-" | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What never changes: a Deployment's selector cannot be edited. */ -}}
{{- define "ashore.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ashore.labels" -}}
{{ include "ashore.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The labels of an alert, of the list of everything and a severity. */ -}}
{{- define "ashore.alertLabels" -}}
{{- $everything := first . -}}
{{- toYaml (merge (dict "severity" (last .)) (default dict $everything.Values.prometheusRule.alertLabels)) -}}
{{- end -}}

{{- define "ashore.serviceAccount" -}}
{{- default (ternary (include "ashore.name" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "ashore.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* A duration as a flag takes it: YAML's large numbers would be 1e+06 otherwise. */ -}}
{{- define "ashore.duration" -}}
{{- if kindIs "float64" . -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- /* The whole seconds, rounded up, of a duration such as 1m30s or 500ms; a bare number is seconds. */ -}}
{{- define "ashore.seconds" -}}
{{- $text := include "ashore.duration" . -}}
{{- if regexMatch "^[0-9]+$" $text -}}
{{- $text -}}
{{- else -}}
{{- $total := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" $text -1 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $total = add $total (mul (int64 (trimSuffix $unit .)) (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) $unit)) -}}
{{- end -}}
{{- div (add $total 999) 1000 -}}
{{- end -}}
{{- end -}}

{{- /* What Pod Security restricted asks of a container, and a root that nobody writes to. */ -}}
{{- define "ashore.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "ashore.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* To read the Secrets that pods pull their images with. */ -}}
{{- define "ashore.pullSecretsRule" -}}
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.lookup.pullSecrets.names }}
  resourceNames: {{ toJson . }}
  {{- end }}
  # get: those that a pod names in imagePullSecrets, one by one, when its image is asked for.
  verbs: [get]
{{- end -}}

{{- /* What is configured of registries, as --registries reads it; nothing if nothing is. */ -}}
{{- define "ashore.registries" -}}
{{- $all := dict -}}
{{- if .Values.lookup.enabled -}}
{{- range $name := list "registries" "allowAddresses" "refuseAddresses" -}}
{{- with get $.Values.lookup $name -}}
{{- $_ := set $all $name . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $all -}}
{{- toYaml $all -}}
{{- end -}}
{{- end -}}

{{- /*
By how much a counter has grown in a time, from a list of both. increase() begins with the first sample, and does not see what a process had
counted by then, nor a label set that comes to be with its first count. What a process says that began within the time is all of it; a label set
that is new, and whose process Prometheus saw before, counts from nothing. Where Prometheus itself was away, or sees Ashore for the first time,
neither is so.
*/}}
{{- define "ashore.grown" }}
{{- $counter := index . 0 }}{{ $time := index . 1 }}
{{- $new := printf "%s and on (job, instance) (process_start_time_seconds > time() - %s)" $counter (include "ashore.seconds" $time) }}
{{- $came := printf "(%s unless %s offset %s) and on (job, instance) (ashore_leader offset %s)" $counter $counter $time $time -}}
(({{ $new }} or {{ $came }}) > increase({{ $counter }}[{{ $time }}]))
or increase({{ $counter }}[{{ $time }}])
or {{ $new }}
or {{ $came }}
{{- end }}
