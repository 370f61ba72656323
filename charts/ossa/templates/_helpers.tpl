{{/* Labels of every object. Call with (list $ "component"). The label managed-by says Helm: "ossa" is reserved to
what the operator makes. */}}
{{- define "ossa.labels" -}}
{{- $root := index . 0 -}}
{{ include "ossa.selector" . }}
app.kubernetes.io/part-of: ossa
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{- define "ossa.selector" -}}
app.kubernetes.io/name: ossa-{{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{/* What every pod of the operator has: no root, and images from where the values say. */}}
{{- define "ossa.podSpec" -}}
{{- $root := index . 0 -}}
serviceAccountName: ossa-{{ index . 1 }}
# They would put OSSA_ARTIFACTS_PORT=tcp://… and the like into the environment.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with index . 2 }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Replicas keep off each other's node where they can. */}}
{{- define "ossa.spread" -}}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "ossa.selector" . | nindent 12 }}
{{- end }}

{{- define "ossa.container" -}}
{{- $root := index . 0 -}}
image: {{ $root.Values.operator.image | quote }}
imagePullPolicy: {{ $root.Values.imagePullPolicy }}
command: [/opt/ossa/bin/python, /app/operator/{{ index . 1 }}.py]
securityContext:
  {{- include "ossa.restricted" . | nindent 2 }}
{{- end }}

{{- define "ossa.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "ossa.pdb" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.podDisruptionBudgets.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: ossa-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "ossa.labels" . | nindent 4 }}
spec:
  {{ index . 2 }}: 1
  selector:
    matchLabels:
      {{- include "ossa.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{- define "ossa.serviceAccount" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: ossa-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "ossa.labels" . | nindent 4 }}
{{- end }}

{{/* Binds the ClusterRole of a component to its ServiceAccount. */}}
{{- define "ossa.clusterRoleBinding" -}}
{{- $root := index . 0 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: ossa-{{ index . 1 }}
  labels:
    {{- include "ossa.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: ossa-{{ index . 1 }}
subjects:
- kind: ServiceAccount
  name: ossa-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
{{- end }}

{{/* The users that act as the operator, as a CEL list. */}}
{{- define "ossa.operators" -}}
{{- $own := printf "system:serviceaccount:%s:ossa-reconciler" .Release.Namespace -}}
{{- concat (list $own) .Values.extraOperators | toJson -}}
{{- end }}

{{/* The users that act for others, as a CEL list. */}}
{{- define "ossa.delegates" -}}
{{- concat (include "ossa.operators" . | fromJsonArray) (include "ossa.gateways" . | fromJsonArray) .Values.delegates | uniq | toJson -}}
{{- end }}

{{/* The gateway's user, as a CEL list. */}}
{{- define "ossa.gateways" -}}
{{- .Values.gateway.enabled | ternary (list (printf "system:serviceaccount:%s:ossa-gateway" .Release.Namespace)) list | toJson -}}
{{- end }}

{{/* Who deletes what has no owner or no namespace any more, as a CEL list: the controller manager's service accounts, or
the controller manager itself where it uses none. */}}
{{- define "ossa.collectors" -}}
{{- list "system:serviceaccount:kube-system:generic-garbage-collector" "system:serviceaccount:kube-system:namespace-controller" "system:kube-controller-manager" | toJson -}}
{{- end }}

{{- define "ossa.keySecret" -}}
{{- .Values.artifacts.existingKeySecret | default "ossa-artifacts-key" -}}
{{- end }}

{{- define "ossa.certificateSecret" -}}
{{- .Values.certificates.existingSecret | default "ossa-admission-tls" -}}
{{- end }}

{{/* One webhook for a kind: root, kind, path, CA bundle. Status is not looked at, nor is a deletion ever held up. */}}
{{- define "ossa.webhook" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $path := index . 2 -}}
{{- $share := index . 4 -}}
- name: {{ $path }}{{ with $share }}-{{ .number }}{{ end }}.ossa.dev
  admissionReviewVersions: [v1]
  clientConfig:
    service:
      name: ossa-admission
      namespace: {{ $root.Release.Namespace }}
      port: {{ with $share }}{{ .port }}{{ else }}443{{ end }}
      path: /{{ $path }}
    {{- with index . 3 }}
    caBundle: {{ . }}
    {{- end }}
  rules:
  - apiGroups: [ossa.dev]
    apiVersions: [v1alpha1]
    resources: [{{ $kind }}]
    operations: [CREATE, UPDATE]
    scope: {{ eq $kind "agentpolicies" | ternary "Cluster" "Namespaced" }}
  {{- include "ossa.seenNamespaces" $root | nindent 2 }}
  matchPolicy: Equivalent
  {{- with $share }}
  matchConditions:
  - {name: share-{{ .number }}, expression: {{ .expression | quote }}}
  {{- end }}
  timeoutSeconds: {{ $root.Values.admission.timeoutSeconds }}
{{- end }}

{{/* The shares in which reviews of what is applied most are asked for, each at a port of the Service. The API server speaks
HTTP/1.1 to webhooks, keeps 25 idle connections for a host and port, and makes one where none is idle: under load by many
clients for four reviews in ten (docs/adr/0022). The UID says which share: its first digit is random, and the API server has
set it before it asks. Every text is of one share. */}}
{{- define "ossa.reviewShares" -}}
{{- $uid := "(has(object.metadata.uid) ? object.metadata.uid : '')" -}}
shares:
- {number: 1, port: 443, name: webhook, expression: "{{ $uid }} < '4'"}
- {number: 2, port: 444, name: webhook-2, expression: "{{ $uid }} >= '4' && {{ $uid }} < '8'"}
- {number: 3, port: 445, name: webhook-3, expression: "{{ $uid }} >= '8' && {{ $uid }} < 'c'"}
- {number: 4, port: 446, name: webhook-4, expression: "{{ $uid }} >= 'c'"}
{{- end }}

{{/* The namespaces that admission looks at, as a field of what selects them; nothing where it looks at all. */}}
{{- define "ossa.seenNamespaces" -}}
{{- with .Values.admission.excludedNamespaces -}}
namespaceSelector:
  matchExpressions:
  - {key: kubernetes.io/metadata.name, operator: NotIn, values: {{ toJson . }}}
{{- end -}}
{{- end }}

{{/* The API of the policy that records authors; empty where the webhook does it. Auto takes the stable API alone: an API
server may serve an older one and not act on it. */}}
{{- define "ossa.authorsApi" -}}
{{- $group := "admissionregistration.k8s.io" -}}
{{- $wanted := .Values.admission.recordAuthors -}}
{{- $stable := .Capabilities.APIVersions.Has (printf "%s/v1/MutatingAdmissionPolicy" $group) -}}
{{- if eq $wanted "Webhook" -}}
{{- else if $stable -}}
{{ $group }}/v1
{{- else if eq $wanted "Policy" -}}
{{- if not (.Capabilities.APIVersions.Has (printf "%s/v1beta1/MutatingAdmissionPolicy" $group)) -}}
{{- fail "admission.recordAuthors is Policy, and the API server has no MutatingAdmissionPolicies (stable since Kubernetes 1.36): make it Auto" -}}
{{- end -}}
{{ $group }}/v1beta1
{{- end -}}
{{- end }}

{{/* Namespaces whose ConfigMaps may be params of policies, as JSON. */}}
{{- define "ossa.paramsNamespaces" -}}
{{- concat (list .Release.Namespace) .Values.governance.paramsNamespaces | uniq | toJson -}}
{{- end }}
