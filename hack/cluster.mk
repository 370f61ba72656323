# The cluster on one command. The program is hack/up; it needs Python 3.11 and nothing else.
#   make up [CONTEXT=NAME]   start (or update) the cluster and install OSSA into it
#   make down                remove everything that `make up` made, but for its cache
#   make kubeconfig          how to use it: eval "$(make -s kubeconfig)"
UP_PYTHON ?= $(shell command -v python3.11 || command -v python3)
export CONTEXT

.PHONY: up down kubeconfig
up down kubeconfig:
	@$(UP_PYTHON) -m hack.up $@
