"""RFC 9113 §8: requests that are none are refused, and requests that are odd are served.

Paths below /served must reach the app, paths below /refused must not; the test that runs this looks.
"""

import sys

from frames import DATA, END_STREAM, Connection, frame, request
from score import Score

PORT = int(sys.argv[1])
MALFORMED = {"RST_STREAM PROTOCOL_ERROR", "GOAWAY PROTOCOL_ERROR", 400}
BAD_HOST = {400, "RST_STREAM PROTOCOL_ERROR"}

score = Score()


def refused(name, fields, expected=MALFORMED, body=None):
    with Connection(PORT) as connection:
        connection.send(connection.headers(1, fields, end=body is None), *(body or []))
        score.add(name, connection.outcome(1), expected)


def served(name, fields, body=None):
    with Connection(PORT) as connection:
        connection.send(connection.headers(1, fields, end=body is None), *(body or []))
        score.add(name, connection.outcome(1), {200})


def data(text, end=True, stream=1):
    return frame(DATA, END_STREAM if end else 0, stream, text)


REFUSED = request("/refused")

for field in [("connection", "close"), ("connection", "x-store-id"), ("keep-alive", "timeout=5"),
              ("proxy-connection", "keep-alive"), ("transfer-encoding", "chunked"), ("upgrade", "websocket"),
              ("te", "gzip"), ("te", "trailers, deflate")]:
    refused(f"§8.2.2 {field[0]}: {field[1]}", REFUSED + [field])
served("§8.2.2 te: trailers", request("/served/te") + [("te", "trailers")])

for name in ["X-Upper", "x upper", "x:y", "", "x\x00y", "x\ny", "x\x7fy", "x\xe9"]:
    refused(f"§8.2.1 a field called {name!r}", REFUSED + [(name, "a")])
for value in ["a\rb", "a\nb", "a\r\nx-store-id: 2", "a\x00b"]:
    refused(f"§8.2.1 a value {value!r}", REFUSED + [("x-value", value)])

for value in [" a", "a ", "\ta", "a\t", " "]:
    refused(f"§8.2.1 a value {value!r}", REFUSED + [("x-value", value)])
served("§8.2.1 a value with white space in it", request("/served/spaces") + [("x-value", "a b\tc")])

for missing in [":method", ":scheme", ":path"]:
    refused(f"§8.3.1 without {missing}", [field for field in REFUSED if field[0] != missing])
for doubled in REFUSED:
    refused(f"§8.3 {doubled[0]} twice", [doubled] + REFUSED)
refused("§8.3 a pseudo-header that does not exist", [(":unknown", "x")] + REFUSED)
refused("§8.3 a pseudo-header of responses", [(":status", "200")] + REFUSED)
refused("§8.3 a pseudo-header behind a field", REFUSED[:3] + [("x-field", "a")] + REFUSED[3:])
refused("§8.3.1 an empty :path", request(""))
refused("§8.3.1 a :path without a slash", request("refused"))
refused("§8.3.1 a :path with a scheme", request("http://customdomain2.com/refused"))
refused("§8.3.1 a :path with a space", request("/refused x"))
refused("§8.3.1 a :path with a control octet", request("/refused\x01"))
served("RFC 9112 §3.2 a :path with a fragment, which is cut off", request("/served/fragment#refused"))
refused("§8.3.1 a :path of asterisk for OPTIONS", request("*", "OPTIONS"))
refused("§8.3.1 another :scheme", [(":method", "GET"), (":scheme", "ftp"), *REFUSED[2:]])
refused("§8.5 CONNECT", [(":method", "CONNECT"), (":authority", "customdomain1.com:80")], MALFORMED | {405})
refused("§8.5 CONNECT with :path", request("/refused", "CONNECT"), MALFORMED | {405})
refused("RFC 9110 §9.3.8 TRACE", request("/refused", "TRACE"), {405})

for authority in ["user@customdomain1.com", "customdomain1.com,customdomain2.com", "customdomain1.com:x", "a b",
                  "customdomain1.com/", "", "[::1"]:
    refused(f"§8.3.1 :authority {authority!r}", request("/refused", "GET", authority), BAD_HOST)
refused("§8.3.1 host differs", REFUSED + [("host", "customdomain2.com")], BAD_HOST)
refused("§8.3.1 host differs in its port", REFUSED + [("host", "customdomain1.com:81")], BAD_HOST)
refused("§8.3.1 two hosts", REFUSED + [("host", "customdomain1.com"), ("host", "customdomain2.com")], BAD_HOST)
refused("§8.3.1 no host at all", [field for field in REFUSED if field[0] != ":authority"], BAD_HOST)
served("§8.3.1 host is equal", request("/served/host") + [("host", "customdomain1.com")])
served("§8.3.1 host alone", [f for f in request("/served/host-alone") if f[0] != ":authority"] +
       [("host", "customdomain1.com")])

LENGTH = [("content-length", "4")]
POST = request("/refused", "POST")
CUT = {"RST_STREAM PROTOCOL_ERROR", "GOAWAY PROTOCOL_ERROR", 400}
refused("§8.1.1 a body shorter than its length", POST + LENGTH, CUT, [data(b"abc")])
refused("§8.1.1 a body longer than its length", POST + LENGTH, CUT, [data(b"abcde")])
refused("§8.1.1 a body longer in its second frame", POST + LENGTH, CUT, [data(b"abcd", end=False), data(b"e")])
refused("§8.1.1 a length and no body", POST + LENGTH, CUT)
refused("§8.1.1 two lengths", POST + LENGTH + [("content-length", "5")], CUT, [data(b"abcd")])
for length in ["+4", "-4", "0x4", "4,4", "four", "", "99999999999999999999"]:
    refused(f"RFC 9110 §8.6 content-length: {length!r}", POST + [("content-length", length)], CUT, [data(b"abcd")])
served("§8.1.1 a body as long as its length", request("/served/length", "POST") + LENGTH, [data(b"abcd")])
served("§8.1.1 the same length twice", request("/served/twice", "POST") + LENGTH + LENGTH, [data(b"abcd")])
served("§8.1 a body without a length", request("/served/none", "POST"), [data(b"abcd", end=False), data(b"")])
served("§8.2.3 cookies in crumbs", request("/served/cookies") + [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")])
served("RFC 9110 §9.1 a method of its own", request("/served/method", "PROPFIND"))
served("X-Store-Id in every spelling", request("/served/owned") +
       [("x-store-id", "2"), ("x_store_id", "2"), ("x-store_id", "2"), ("x-forwarded-for", "6.6.6.6")])

with Connection(PORT) as trailing:
    fields = request("/served/trailers", "POST") + [("te", "trailers"), ("trailer", "x-sum, x-store-id, host")]
    trailing.send(trailing.headers(1, fields, end=False), data(b"abcd", end=False))
    trailing.send(trailing.headers(1, [("x-sum", "7"), ("x-store-id", "2"), ("host", "customdomain2.com")]))
    score.add("§8.1 trailers", trailing.outcome(1), {200})

# What has no place in a header has none in a trailer. A pseudo-header is dropped by the library before usher sees it, and
# there is no form in which it could go on.
for name, path, field, harmless in [("a pseudo-header", "/served/pseudo-trailer", (":path", "/x"), {200}),
                                    ("an upper-case name", "/refused", ("X-Sum", "7"), ()),
                                    ("a connection field", "/refused", ("connection", "close"), ())]:
    with Connection(PORT) as trailing:
        post = trailing.headers(1, request(path, "POST"), end=False)
        trailing.send(post, data(b"abcd", end=False), trailing.headers(1, [field]))
        score.add(f"§8.1 {name} in trailers", trailing.outcome(1), MALFORMED, harmless)

score.finish()
