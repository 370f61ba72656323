{{/* Which requests are about somebody's authorship. */}}
{{- define "ossa.authored" -}}
resourceRules:
- apiGroups: [ossa.dev]
  apiVersions: ["*"]
  resources: [agents, workflows, executions, agentpolicies, agentpolicyexceptions]
  operations: [CREATE, UPDATE]
  scope: "*"
{{- end }}

{{/* What both policies about authors speak of: that which writes their names and that which checks them. */}}
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
  expression: 'variables.isDelegate ? variables.author : request.userInfo.username'
- name: mayBreakGlass
  expression: >-
    variables.isCreate && request.resource.resource == 'executions' && has(request.userInfo.groups) &&
    request.userInfo.groups.exists(group, group in {{ toJson .Values.governance.breakGlassGroups }})
- name: specChanged
  expression: variables.isCreate || object.spec != oldObject.spec
{{- end }}
