-- A host of its own for every request, at 20,000 a second in all: each of 96 connections waits 2 ms before the next.
local number = 0

function request()
  number = number + 1
  return "GET / HTTP/1.1\r\nHost: stranger-" .. number .. ".example\r\n\r\n"
end

function delay()
  return 2
end
