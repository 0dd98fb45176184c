-- For wrk: one request of the Open Inference Protocol again and again; every answer that isn't 200 is counted.
-- BODY names a file with the request's body, TYPE is its content type, LENGTH that of its JSON where a binary tensor follows.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = os.getenv("TYPE")
wrk.headers["Inference-Header-Content-Length"] = os.getenv("LENGTH")

function done(summary, latency, _)
  local errors = summary.errors
  local bad = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  local ms = function(us) return us / 1000 end
  print(string.format(
    '{"requests":%d,"per_second":%.1f,"p50_ms":%.3f,"p99_ms":%.3f,"errors":%d}',
    summary.requests, summary.requests / (summary.duration / 1e6), ms(latency:percentile(50)), ms(latency:percentile(99)), bad))
end
