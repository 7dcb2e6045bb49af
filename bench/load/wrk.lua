-- Sends the requests of a file in turn, and sums up in one line of JSON. Built as in requests.ts.
local requests, sent = {}, 0

function init(args)
  local host = "\r\nHost: " .. wrk.host .. ":" .. wrk.port .. "\r\n"
  for line in io.lines(args[1]) do
    local class, target = tonumber(line:sub(1, 1)), line:sub(2)
    if class < 2 then
      requests[#requests + 1] = "POST " .. target .. " HTTP/1.1" .. host .. "Content-Length: 0\r\n\r\n"
    else
      requests[#requests + 1] = "GET " .. target .. " HTTP/1.1" .. host .. "\r\n"
    end
  end
end

function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    'SUMMARY {"requests": %d, "durationUs": %d, "statusErrors": %d, "socketErrors": %d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
