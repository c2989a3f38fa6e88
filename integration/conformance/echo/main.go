// Echo is the application of the conformance suite: a server that tells what it received, and a client that prints what it was told.
//
// The suite runs it under the name of another image and reads what the client prints, so that flags and fields are not ours to choose:
// `server --port 8080 --port 8443 --tls 8443 --grpc 7070 --tcp 9090`, `client URL --method M -H NAME:VALUE --count N`.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	var err error
	switch name := filepath.Base(os.Args[0]); name {
	case "server":
		err = serve(os.Args[1:])
	case "client":
		err = call(os.Args[1:])
	default:
		err = fmt.Errorf("called as %s: this is server and client", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
