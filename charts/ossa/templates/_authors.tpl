{{/* Which requests are about somebody's authorship, of these operations. */}}
{{- define "ossa.authored" -}}
resourceRules:
- apiGroups: [ossa.dev]
  apiVersions: ["*"]
  resources: [agents, workflows, executions, agentpolicies, agentpolicyexceptions]
  operations: {{ toJson . }}
  scope: "*"
{{- end }}

{{/* What the policies about authors speak of: those which write their names and that which checks them. */}}
{{- define "ossa.authorVariables" -}}
- name: isCreate
  expression: request.operation == 'CREATE'
- name: annotations
  expression: 'has(object.metadata.annotations) ? object.metadata.annotations : {}'
- name: oldAnnotations
  expression: 'oldObject != null && has(oldObject.metadata.annotations) ? oldObject.metadata.annotations : {}'
{{- range $name, $key := dict "author" "author" "authors" "authors" "createdBy" "created-by" "changedBy" "spec-changed-by" "breakGlass" "break-glass" }}
- name: {{ $name }}
  expression: "'ossa.dev/{{ $key }}' in variables.annotations ? variables.annotations['ossa.dev/{{ $key }}'] : ''"
- name: {{ printf "old%s" (title $name) }}
  expression: "'ossa.dev/{{ $key }}' in variables.oldAnnotations ? variables.oldAnnotations['ossa.dev/{{ $key }}'] : ''"
{{- end }}
- name: isDelegate
  expression: 'request.userInfo.username in {{ include "ossa.delegates" . }}'
# Who answers for this request; empty where a delegate names nobody.
- name: person
  expression: 'string(variables.isDelegate ? variables.author : request.userInfo.username)'
- name: mayBreakGlass
  expression: >-
    variables.isCreate && request.resource.resource == 'executions' && has(request.userInfo.groups) &&
    request.userInfo.groups.exists(group, group in {{ toJson .Values.governance.breakGlassGroups }})
- name: specChanged
  expression: variables.isCreate || object.spec != oldObject.spec
{{- end }}

{{/* A policy that records authors for one operation, with its binding, up to its variables; its mutations follow. */}}
{{- define "ossa.recordsAuthors" -}}
{{- $name := printf "ossa-authors-%s" (lower .operation) -}}
{{- $labels := include "ossa.labels" (list .root "policies") -}}
---
apiVersion: {{ .api }}
kind: MutatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels:
    {{- $labels | nindent 4 }}
spec:
  policyName: {{ $name }}
  {{- with include "ossa.seenNamespaces" .root }}
  matchResources:
    {{- . | nindent 4 }}
  {{- end }}
---
apiVersion: {{ .api }}
kind: MutatingAdmissionPolicy
metadata:
  name: {{ $name }}
  labels:
    {{- $labels | nindent 4 }}
spec:
  failurePolicy: {{ .failurePolicy }}
  reinvocationPolicy: {{ .reinvocationPolicy }}
  matchConstraints:
    {{- include "ossa.authored" (list .operation) | nindent 4 }}
  variables:
  {{- include "ossa.authorVariables" .root | nindent 2 }}
{{- end }}
