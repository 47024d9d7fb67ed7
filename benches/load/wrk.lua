-- For wrk: posts the body named by BODY and prints one JSON line at the end.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = file:read("*a")
file:close()

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "rate": %.0f, "us": [%d, %d, %d], "bad": %d}\n',
      summary.requests, summary.requests * 1e6 / summary.duration,
      latency:percentile(50), latency:percentile(90), latency:percentile(99),
      errors.status + errors.connect + errors.read + errors.write + errors.timeout
   ))
end
