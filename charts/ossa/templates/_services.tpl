{{/* What is random is made once and kept: root, name of the Secret, key in it, what it is (password, key or pem). Base64.
Rendered once a rendering, because a template that makes something random gives something else each time. */}}
{{- define "ossa.kept" -}}
{{- $root := index . 0 -}}
{{- $secret := index . 1 -}}
{{- $key := index . 2 -}}
{{- $kind := index . 3 -}}
{{- $held := printf "kept %s" $secret -}}
{{- if not (hasKey $root.Release $held) }}
{{- $old := lookup "v1" "Secret" $root.Release.Namespace $secret | default dict }}
{{- $fresh := "" }}
{{- if eq $kind "password" }}
{{- $fresh = randAlphaNum 40 }}
{{- else if eq $kind "key" }}
{{- $fresh = randBytes 32 }}
{{- else }}
{{- $fresh = genPrivateKey "ed25519" }}
{{- end }}
{{- $_ := set $root.Release $held (index ($old.data | default dict) $key | default ($fresh | b64enc)) }}
{{- end }}
{{- index $root.Release $held }}
{{- end }}

{{/* A Secret that outlives the release: root, component, its name, its data. */}}
{{- define "ossa.keptSecret" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ index . 2 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "ossa.labels" (list $root (index . 1)) | nindent 4 }}
  annotations:
    # What it opens or proves is kept too.
    helm.sh/resource-policy: keep
data:
  {{- range $name, $value := index . 3 }}
  {{ $name }}: {{ $value }}
  {{- end }}
{{- end }}

{{/* Whether anything uses the records and the bus. */}}
{{- define "ossa.connected" -}}
{{- if or .Values.gateway.enabled .Values.monitor.enabled }}true{{ end -}}
{{- end }}

{{/* The Secret and the key with the URL of a server: root, name of its values, what it is. */}}
{{- define "ossa.urlSource" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $server := index $root.Values $name -}}
{{- $external := $server.external -}}
{{- if and $server.enabled (or $external.existingSecret $external.url) }}
{{- fail (printf "%s.enabled is a server of the chart and %s.external one of yours: choose one" $name $name) }}
{{- end }}
{{- if $server.enabled -}}
{name: ossa-{{ $name }}, key: url}
{{- else if $external.existingSecret -}}
{name: {{ $external.existingSecret }}, key: {{ $external.key }}}
{{- else if $external.url -}}
{name: ossa-{{ $name }}-external, key: url}
{{- else -}}
{{- fail (printf "gateway.enabled and monitor.enabled need %s.enabled (a trial), %s.external.existingSecret or %s.external.url" $name $name $name) }}
{{- end -}}
{{- end }}

{{/* Where the records and the bus are, as the environment of a process. */}}
{{- define "ossa.recordsEnvironment" -}}
- name: OSSA_RECORDS_URL
  valueFrom:
    secretKeyRef: {{ include "ossa.urlSource" (list . "postgresql") }}
{{- end }}

{{- define "ossa.busEnvironment" -}}
- name: OSSA_BUS_URL
  valueFrom:
    secretKeyRef: {{ include "ossa.urlSource" (list . "redis") }}
{{- end }}

{{- define "ossa.tracingEnvironment" -}}
{{- with .Values.tracing.endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{/* Pods start anew when a URL or a key that the chart knows changes. */}}
{{- define "ossa.secretsChecksum" -}}
{{- $known := list }}
{{- range $name := list "postgresql" "redis" }}
{{- $server := index $.Values $name }}
{{- $known = append $known ($server.enabled | ternary (include "ossa.kept" (list $ (printf "ossa-%s" $name) "password" "password")) (toJson $server.external)) }}
{{- end }}
{{- range $part := list "gateway" "audit" }}
{{- $known = append $known (include (printf "ossa.%sKeySecret" $part) $) }}
{{- end }}
{{- $known = append $known (toJson .Values.audit.publicKeys) }}
{{- join " " $known | sha256sum -}}
{{- end }}

{{/* How clients reach the gateway: the issuer of its tokens. */}}
{{- define "ossa.gatewayURL" -}}
{{- if .Values.gateway.url -}}
{{ .Values.gateway.url }}
{{- else if .Values.gateway.ingress.enabled -}}
https://{{ .Values.gateway.ingress.host }}
{{- else -}}
http://ossa-gateway.{{ .Release.Namespace }}.svc:{{ .Values.gateway.service.port }}
{{- end -}}
{{- end }}

{{- define "ossa.gatewayKeySecret" -}}
{{- .Values.gateway.existingKeySecret | default "ossa-gateway-key" -}}
{{- end }}

{{- define "ossa.auditKeySecret" -}}
{{- .Values.audit.existingKeySecret | default "ossa-audit-key" -}}
{{- end }}

{{/* The account of a server of a trial, which asks the API server nothing. */}}
{{- define "ossa.serverAccount" -}}
{{ include "ossa.serviceAccount" . }}
automountServiceAccountToken: false
{{- end }}

{{- define "ossa.serverContainer" -}}
image: {{ index . 1 | quote }}
imagePullPolicy: {{ (index . 0).Values.imagePullPolicy }}
securityContext:
  {{- include "ossa.restricted" . | nindent 2 }}
{{- end }}

{{/* The volume of a server's data; its claim stays when the release goes. Root, values of persistence. */}}
{{- define "ossa.claimTemplate" -}}
{{- $persistence := index . 1 -}}
{{- if $persistence.enabled -}}
volumeClaimTemplates:
- metadata:
    name: data
  spec:
    accessModes: [ReadWriteOnce]
    {{- with $persistence.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ $persistence.size }}
{{- end }}
{{- end }}

{{/* Root, component, port. */}}
{{- define "ossa.serverService" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
apiVersion: v1
kind: Service
metadata:
  name: ossa-{{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "ossa.labels" (list $root $name) | nindent 4 }}
spec:
  selector:
    {{- include "ossa.selector" (list $root $name) | nindent 4 }}
  ports:
  - {name: {{ $name }}, port: {{ index . 2 }}, targetPort: {{ $name }}}
{{- end }}

{{/* Component. */}}
{{- define "ossa.metricsService" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: Service
metadata:
  name: ossa-{{ index . 1 }}-metrics
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "ossa.labels" . | nindent 4 }}
spec:
  selector:
    {{- include "ossa.selector" . | nindent 4 }}
  ports:
  - {name: metrics, port: 9090, targetPort: metrics}
{{- end }}

{{/* Rights in the release's namespace: component, to its own Lease, which says which of its replicas leads, and more rules. */}}
{{- define "ossa.leaseRole" -}}
{{- $root := index . 0 -}}
{{- $name := printf "ossa-%s" (index . 1) -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "ossa.labels" . | nindent 4 }}
rules:
# A right to create cannot be limited to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ $name }}]
  verbs: [get, update]
{{- with index . 2 }}
{{ . }}
{{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "ossa.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
- kind: ServiceAccount
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
{{- end }}

{{/* A way to a server, as a rule of egress: root, its name, its port in the cluster. */}}
{{- define "ossa.serverEgress" -}}
{{- $root := index . 0 -}}
{{- $server := index $root.Values (index . 1) -}}
{{- if $server.enabled -}}
- ports: [{port: {{ index . 2 }}}]
  to:
  - podSelector:
      matchLabels:
        {{- include "ossa.selector" (list $root (index . 1)) | nindent 8 }}
{{- else -}}
- ports: [{port: {{ $server.external.port }}}]
{{- end }}
{{- end }}

{{/* The public half of the key that signs the audit trail, PEM. Helm has no function for it; a certificate made with the key
holds it, behind the bytes that say Ed25519. */}}
{{- define "ossa.auditPublicKey" -}}
{{- $key := include "ossa.kept" (list . "ossa-audit-key" "key" "pem") | b64dec -}}
{{- $certificate := genSelfSignedCertWithKey "ossa" nil nil 1 $key -}}
{{- $der := $certificate.Cert | replace "-----BEGIN CERTIFICATE-----" "" | replace "-----END CERTIFICATE-----" "" | replace "\n" "" | b64dec -}}
{{- $ed25519 := "0*0\x05\x06\x03+ep\x03!\x00" -}}
{{- $public := (splitn $ed25519 2 $der)._1 | substr 0 32 -}}
-----BEGIN PUBLIC KEY-----
{{ printf "%s%s" $ed25519 $public | b64enc }}
-----END PUBLIC KEY-----
{{- end }}
