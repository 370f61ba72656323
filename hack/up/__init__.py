"""`make up`, `make down` and `make kubeconfig`: the cluster on one command. Standard library only."""
