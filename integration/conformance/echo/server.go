package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echoMethod is what the client calls: the suite prescribes no contract for gRPC.
const echoMethod = "/proto.EchoTestService/Echo"

type ports []int

func (p *ports) String() string { return fmt.Sprint(*p) }

func (p *ports) Set(value string) error {
	port, err := strconv.Atoi(value)
	*p = append(*p, port)
	return err
}

// serve listens on every port that it is told and ends with the first that fails.
func serve(arguments []string) error {
	var plain, secure, streams, bytes ports
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.Var(&plain, "port", "HTTP")
	flags.Var(&secure, "tls", "which of the ports speak TLS")
	flags.Var(&streams, "grpc", "gRPC")
	flags.Var(&bytes, "tcp", "TCP")
	flags.String("crt", "", "ignored: the certificate is made here, nobody checks it")
	flags.String("key", "", "ignored")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	failed := make(chan error)
	listen := func(port int, run func(net.Listener) error) {
		listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			err = run(listener)
		}
		failed <- fmt.Errorf("port %d: %w", port, err)
	}
	for _, port := range plain {
		go listen(port, func(listener net.Listener) error {
			if slices.Contains(secure, port) {
				listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}})
			}
			return web(port).Serve(listener)
		})
	}
	for _, port := range streams {
		go listen(port, func(listener net.Listener) error { return grpcServer(port).Serve(listener) })
	}
	for _, port := range bytes {
		go listen(port, greet)
	}
	return <-failed
}

// web speaks HTTP/1.1 and, to who begins with its preface, HTTP/2.
func web(port int) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	answer := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, told(port, r.Host, r.Header, "Method="+r.Method, "Proto="+r.Proto, "URL="+r.URL.RequestURI()))
	}
	return &http.Server{Handler: http.HandlerFunc(answer), Protocols: protocols, ReadHeaderTimeout: 10 * time.Second}
}

func grpcServer(port int) *grpc.Server {
	answer := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		if err := decode(new(wrapperspb.StringValue)); err != nil {
			return nil, err
		}
		received, _ := metadata.FromIncomingContext(ctx)
		host := strings.Join(received.Get(":authority"), "")
		return wrapperspb.String(told(port, host, http.Header(received), "Proto=GRPC")), nil
	}
	service, method, _ := strings.Cut(strings.TrimPrefix(echoMethod, "/"), "/")
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: method, Handler: answer}},
	}, nil)
	return server
}

// greet answers the first bytes of a connection with who is here.
func greet(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = connection.Close() }()
			_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := connection.Read(make([]byte, 1024)); err == nil {
				_, _ = io.WriteString(connection, told(9090, "", nil, "Proto=TCP"))
			}
		}()
	}
}

// told is the body of every answer: a line a field, as the suite's expressions find them.
func told(port int, host string, header http.Header, more ...string) string {
	name, _ := os.Hostname()
	lines := []string{fmt.Sprintf("ServicePort=%d", port), "Host=" + host}
	lines = append(lines, more...)
	for key, values := range header {
		for _, value := range values {
			lines = append(lines, "RequestHeader="+key+":"+value)
		}
	}
	slices.Sort(lines)
	return strings.Join(append(lines, "Hostname="+name), "\n") + "\n"
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"echo"}, NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
