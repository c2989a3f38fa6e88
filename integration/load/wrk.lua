-- What wrk counted, exactly: its own summary rounds the bytes.
function done(summary, latency, requests)
    local errors = summary.errors
    local broken = errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format("\ncounted %d %d %d %d\n", summary.requests, summary.bytes, errors.status, broken))
end
