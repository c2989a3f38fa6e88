-- The word after the address is how long a body each request has; 0 is a GET.
function init(words)
    local bytes = tonumber(words[1])
    if bytes > 0 then
        wrk.method = "POST"
        wrk.body = string.rep("x", bytes)
    end
end

-- What wrk counted, exactly: its own summary rounds the bytes.
function done(summary, latency, requests)
    local errors = summary.errors
    local broken = errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format("\ncounted %d %d %d %d\n", summary.requests, summary.bytes, errors.status, broken))
end
