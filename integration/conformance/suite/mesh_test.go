// Package suite is the Gateway API's own conformance suite, as run.py compiles and starts it. What is tested stands in its flags.
package suite

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) {
	conformance.RunConformance(t)
}
