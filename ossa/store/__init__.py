"""What is kept outside of Kubernetes: artifacts, and the service that hands them out."""
