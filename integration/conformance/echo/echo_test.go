package main

import (
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/gateway-api/conformance/utils/echo"
)

// printed runs the client and gives what the suite would read.
func printed(t *testing.T, arguments ...string) string {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdout
	os.Stdout = writer
	err = call(arguments)
	os.Stdout = before
	_ = writer.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(reader)
	return string(text)
}

func TestTheSuiteReadsWhatTheClientPrintsOfHTTP(t *testing.T) {
	server := httptest.NewServer(web(8080).Handler)
	defer server.Close()
	text := printed(t, server.URL+"/a?b=c", "--method=PUT", "-H", "X-Many:one", "-H", "x-many:two", "-H", "Host:reviews", "--count=3")
	parts := strings.Split(strings.TrimSpace(text), "\n\n")
	if len(parts) != 3 {
		t.Fatalf("%d answers: %s", len(parts), text)
	}
	name, _ := os.Hostname()
	for _, part := range parts {
		read := echo.ParseResponse(part)
		got := fmt.Sprint(read.Code, read.Method, read.Host, read.Hostname, read.URL, read.RequestHeaders["X-Many"], read.Port)
		if want := fmt.Sprint("200", "PUT", "reviews", name, "/a?b=c", []string{"one", "two"}, "8080"); got != want {
			t.Errorf("%s, not %s", got, want)
		}
		if read.ResponseHeaders.Get("content-type") == "" {
			t.Errorf("no header of the answer in %s", part)
		}
	}
}

func TestTheSuiteReadsWhatTheClientPrintsOfGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpcServer(7070)
	defer server.Stop()
	go func() { _ = server.Serve(listener) }()
	read := echo.ParseResponse(printed(t, "grpc://"+listener.Addr().String(), "-H", "x-a:b"))
	if read.Code != "200" || read.Hostname == "" || read.RequestHeaders.Get("x-a") != "b" {
		t.Errorf("%+v", read)
	}
}

func TestWhoGetsNoAnswerSaysSo(t *testing.T) {
	for _, arguments := range [][]string{{}, {"http://127.0.0.1:1"}, {"grpc://127.0.0.1:1"}, {"http://localhost", "-H", "none"}} {
		if err := call(arguments); err == nil {
			t.Errorf("%v ended well", arguments)
		}
	}
}
