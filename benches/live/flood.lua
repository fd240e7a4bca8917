-- A host of its own for every request, 20,000 a second in all, each in its turn: strangers do not come in step. wrk counts in
-- milliseconds, so that some twenty come at once.
local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds, nanoseconds; } moment; int clock_gettime(int clock, moment *now);")

local PER_MILLISECOND = 20
local MONOTONIC = 1
local moment = ffi.new("moment")
local began, turns, number = nil, 0, 0

local function milliseconds()
  ffi.C.clock_gettime(MONOTONIC, moment)
  return tonumber(moment.seconds) * 1e3 + tonumber(moment.nanoseconds) / 1e6
end

function delay()
  local now = milliseconds()
  began = began or now
  turns = turns + 1
  return math.max(0, began + turns / PER_MILLISECOND - now)
end

function request()
  number = number + 1
  return "GET / HTTP/1.1\r\nHost: stranger-" .. number .. ".example\r\n\r\n"
end
