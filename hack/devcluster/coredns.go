package main

import (
	"github.com/coredns/coredns/coremain"

	// Only what a cluster's DNS needs: each further plugin brings its cloud's SDK along.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func runCoreDNS() int {
	coremain.Run()
	return 0
}
