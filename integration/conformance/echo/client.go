package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// patience is for one call: the suite waits ten seconds for its own.
const patience = 10 * time.Second

type headers [][2]string

func (h *headers) String() string { return "" }

func (h *headers) Set(value string) error {
	name, rest, found := strings.Cut(value, ":")
	if !found {
		return fmt.Errorf("%q is no NAME:VALUE", value)
	}
	*h = append(*h, [2]string{name, rest})
	return nil
}

// call makes the calls one after the other over one connection and ends with the first that gets no answer.
func call(arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("usage: client URL [--method M] [-H NAME:VALUE]... [--count N]")
	}
	var sent headers
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	method := flags.String("method", http.MethodGet, "of HTTP")
	count := flags.Int("count", 1, "how many calls")
	flags.Var(&sent, "H", "a header, NAME:VALUE")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	target, err := url.Parse(arguments[0])
	if err != nil {
		return err
	}
	ask := func() (string, error) { return overHTTP(*method, target.String(), sent) }
	if target.Scheme == "grpc" {
		connection, err := grpc.NewClient("passthrough:///"+target.Host, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer func() { _ = connection.Close() }()
		ask = func() (string, error) { return overGRPC(connection, sent) }
	}
	for number := range *count {
		answer, err := ask()
		if err != nil {
			return err
		}
		show(number, target, answer)
	}
	return nil
}

// show prints an answer as the suite reads it: the body's lines under their number, a blank line at the end.
func show(number int, target *url.URL, answer string) {
	fmt.Fprintf(os.Stdout, "[%d] Url=%s\n", number, target)
	for _, line := range strings.Split(strings.TrimSpace(answer), "\n") {
		fmt.Fprintf(os.Stdout, "[%d body] %s\n", number, line)
	}
	fmt.Fprintln(os.Stdout)
}

// client takes a redirect for the answer that it is.
var client = &http.Client{
	Timeout:       patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func overHTTP(method, target string, sent headers) (string, error) {
	request, err := http.NewRequest(method, target, nil)
	if err != nil {
		return "", err
	}
	for _, header := range sent {
		if strings.EqualFold(header[0], "host") {
			request.Host = header[1]
		} else {
			// Written as it was given: the suite tests that names are alike in any case.
			request.Header[header[0]] = append(request.Header[header[0]], header[1])
		}
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	lines := []string{fmt.Sprintf("StatusCode=%d", response.StatusCode)}
	for name, values := range response.Header {
		for _, value := range values {
			lines = append(lines, "ResponseHeader="+name+":"+value)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n" + string(body), nil
}

func overGRPC(connection *grpc.ClientConn, sent headers) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, header := range sent {
		ctx = metadata.AppendToOutgoingContext(ctx, header[0], header[1])
	}
	answer := new(wrapperspb.StringValue)
	if err := connection.Invoke(ctx, echoMethod, wrapperspb.String(""), answer); err != nil {
		return "", err
	}
	return "StatusCode=200\n" + answer.GetValue(), nil
}
