//! Requests to app servers that speak HTTP/2, where the first attempt comes to nothing.

use std::{sync::Arc, sync::Mutex, sync::atomic::AtomicBool, sync::atomic::Ordering, sync::mpsc};

use h2::Reason;

use super::upstream_h2c::{GET, POST, answered, in_front_of, usher};
use crate::support::{
    A_MOMENT, DATA, END_STREAM, FrameApp, Frames, GOAWAY, H2App, HEADERS, RST_STREAM, SOON, UNBUFFERED, WINDOW_UPDATE,
    eventually,
};

/// Whatever the method: nothing was done (RFC 9113 §8.7).
#[test]
fn a_refused_request_goes_to_another_server_with_its_whole_body() {
    let refusing = H2App::scripted(|mut call| async move { call.answer.send_reset(Reason::REFUSED_STREAM) });
    let taking = H2App::echo();
    let usher = usher(&[refusing.url(), taking.url()], "");
    let body = "x".repeat(40_000);
    for number in 1..=6 {
        let response = usher
            .raw(format!("POST /{number} HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 40000\r\n\r\n{body}"));
        assert_eq!((response.status, response.text() == body), (200, true), "request {number}");
    }
    assert_eq!(taking.calls().len(), 6);
    assert!(!refusing.calls().is_empty());
    let refused = usher.metric("usher_upstream_attempts_total", &["outcome=\"refused\""]);
    assert_eq!(refused, refusing.calls().len() as f64);
}

/// The second server answers before it has read what is sent to it again.
#[test]
fn an_upload_that_is_sent_again_has_no_gap_where_the_answer_begins() {
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    const MORE: [u8; 4] = [0, 0, 1, 0];
    let (tell, told) = mpsc::channel();
    // SETTINGS_INITIAL_WINDOW_SIZE: one piece.
    let app = FrameApp::saying(&[0, 4, 0, 0, 0, 4], move |mut frames| {
        let mut received = Vec::new();
        let mut stream = frames.next_of(HEADERS).unwrap().stream;
        if frames.number == 0 {
            frames.answer(stream);
            stream = frames.next_of(HEADERS).unwrap().stream;
        } else {
            received.extend(frames.next_of(DATA).unwrap().payload);
            frames.head(stream);
            std::thread::sleep(A_MOMENT);
        }
        frames.write(WINDOW_UPDATE, 0, stream, &MORE);
        while received.len() < 12 {
            let Some(frame) = frames.next_of(DATA) else { break };
            received.extend(frame.payload);
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
        match frames.number {
            0 => frames.write(RST_STREAM, 0, stream, &REFUSED_STREAM),
            _ => frames.write(DATA, END_STREAM, stream, b"ok"),
        }
        let _ = tell.send(received);
        frames.next_of(GOAWAY);
    });
    let usher = usher(&[app.url()], UNBUFFERED);
    assert_eq!(answered(&usher, GET).status, 200);
    let upload = "PUT /p HTTP/1.1\r\nHost: customdomain1.com\r\nTransfer-Encoding: chunked\r\n\r\n";
    let response = answered(&usher, &format!("{upload}4\r\naaaa\r\n4\r\nbbbb\r\n4\r\ncccc\r\n0\r\n\r\n"));
    assert_eq!((response.status, response.text()), (200, "ok".into()));
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(SOON).unwrap(), b"aaaabbbbcccc");
    }
}

#[test]
fn a_server_that_refuses_everything_is_asked_a_bounded_number_of_times() {
    for (config, most) in [("", 6), ("[upstreams.default]\nconnections_max = 1", 12)] {
        let app = H2App::scripted(|mut call| async move { call.answer.send_reset(Reason::REFUSED_STREAM) });
        let usher = usher(&[app.url()], config);
        for _ in 0..3 {
            assert_eq!(answered(&usher, POST).status, 502);
        }
        assert!(app.calls().len() <= most, "{}", app.calls().len());
    }
}

/// What can be kept of a body is bounded; what cannot be repeated is not.
#[test]
fn a_large_upload_that_is_refused_late_is_a_502() {
    let app = H2App::scripted(|mut call| async move {
        let mut left: usize = 200_000;
        while left > 0 {
            let Some(Ok(part)) = call.body.data().await else { return };
            call.body.flow_control().release_capacity(part.len()).unwrap();
            left -= part.len();
        }
        call.answer.send_reset(Reason::REFUSED_STREAM);
    });
    let usher = in_front_of(&app);
    let body = "x".repeat(200_000);
    let response =
        usher.raw(format!("POST / HTTP/1.1\r\nHost: customdomain1.com\r\nContent-Length: 200000\r\n\r\n{body}"));
    assert_eq!((response.status, app.calls().len()), (502, 1));
}

#[test]
fn a_request_behind_the_last_one_of_a_leaving_connection_goes_elsewhere() {
    let app = FrameApp::scripted(|mut frames| {
        while let Some(request) = frames.next_of(HEADERS) {
            match (frames.number, request.stream) {
                (0, 1) => frames.answer(1),
                (0, _) => frames.go_away(1),
                (_, stream) => frames.answer(stream),
            }
        }
    });
    let usher = usher(&[app.url()], "");
    assert_eq!(answered(&usher, GET).status, 200);
    assert_eq!(answered(&usher, POST).status, 200, "the app has said that it did not process it");
    assert_eq!(answered(&usher, POST).status, 200);
    assert_eq!(app.connections(), 2);
    assert_eq!(usher.access_log(3)[1]["attempts"], 2);
}

#[test]
fn who_had_a_place_keeps_it_when_its_connection_was_leaving() {
    let [is_there, leaves] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (at, go) = (Arc::clone(&is_there), Arc::clone(&leaves));
    let app = FrameApp::scripted(move |mut frames| {
        while let Some(request) = frames.next_of(HEADERS) {
            if (frames.number, request.stream) == (0, 3) {
                at.store(true, Ordering::SeqCst);
                eventually("it may leave", || go.load(Ordering::SeqCst).then_some(()));
                return frames.go_away(1);
            }
            frames.answer(request.stream);
        }
    });
    let usher = usher(&[app.url()], "[upstreams.default]\nrequests_max = 1\nqueue_timeout = '30s'");
    assert_eq!(answered(&usher, GET).status, 200);
    let [mut has_place, mut waits] = [(); 2].map(|()| usher.connect());
    has_place.send(GET.replace("/p", "/has"));
    eventually("it is at the app", || is_there.load(Ordering::SeqCst).then_some(()));
    waits.send(GET.replace("/p", "/waits"));
    std::thread::sleep(A_MOMENT);
    leaves.store(true, Ordering::SeqCst);
    assert_eq!([has_place.response().status, waits.response().status], [200, 200]);
    let paths: Vec<_> = usher.access_log(3).iter().map(|line| line["target"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths, ["/p", "/has", "/waits"]);
}

/// It says that nothing new is taken; what runs goes on, and keeps nobody from another connection where there may be one only.
#[test]
fn a_connection_that_is_going_away_is_left_and_finishes_what_runs() {
    for config in ["", "[upstreams.default]\nconnections_max = 1"] {
        is_left_and_finishes_what_runs(config);
    }
}

fn is_left_and_finishes_what_runs(config: &str) {
    let (say, said) = mpsc::channel::<()>();
    let said = Mutex::new(said);
    let app = FrameApp::scripted(move |mut frames| {
        let Some(first) = frames.next_of(HEADERS) else { return };
        if frames.number == 0 {
            frames.go_away(1);
            said.lock().unwrap().recv().unwrap();
        }
        frames.answer(first.stream);
        while let Some(request) = frames.next_of(HEADERS) {
            frames.answer(request.stream);
        }
    });
    let usher = usher(&[app.url()], config);
    let mut running = usher.connect();
    running.send(GET);
    eventually("the first request is at the app", || (app.connections() == 1).then_some(()));
    std::thread::sleep(A_MOMENT);
    for _ in 0..3 {
        assert_eq!(answered(&usher, POST).status, 200);
    }
    assert_eq!((app.connections(), usher.metric("usher_endpoint_connections", &[])), (2, 2.0));
    say.send(()).unwrap();
    assert_eq!(running.response().status, 200);
    eventually("one is left", || (usher.metric("usher_endpoint_connections", &[]) == 1.0).then_some(()));
}

/// Nor do those that finish there take the places of others, as is noticed within a second or so.
#[test]
fn streams_on_a_connection_that_is_left_take_nobodys_place() {
    const TWO_STREAMS: &[u8] = &[0, 3, 0, 0, 0, 2];
    let (say, said) = mpsc::channel::<()>();
    let said = Mutex::new(said);
    let app = FrameApp::saying(TWO_STREAMS, move |mut frames| {
        if frames.number == 0 {
            let running = [(); 2].map(|()| frames.next_of(HEADERS).unwrap().stream);
            frames.go_away(running[1]);
            said.lock().unwrap().recv().unwrap();
            running.iter().for_each(|stream| frames.answer(*stream));
        }
        while let Some(request) = frames.next_of(HEADERS) {
            frames.answer(request.stream);
        }
    });
    let usher = usher(&[app.url()], "[upstreams.default]\nconnections_max = 1\nqueue_timeout = '5s'");
    let mut running = [usher.connect(), usher.connect()];
    for client in &mut running {
        client.send(GET);
        std::thread::sleep(A_MOMENT);
    }
    assert!((0..3).all(|_| answered(&usher, POST).status == 200));
    say.send(()).unwrap();
    assert!(running.iter_mut().all(|client| client.response().status == 200));
    assert_eq!(app.connections(), 2);
}

#[test]
fn a_request_that_failed_in_the_app_is_not_sent_again() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM] {
        let app = H2App::scripted(move |mut call| async move { call.answer.send_reset(reason) });
        let usher = in_front_of(&app);
        for (number, request) in [GET, POST, GET].into_iter().enumerate() {
            assert_eq!(answered(&usher, request).status, 502, "{reason:?}");
            assert_eq!(app.calls().len(), number + 1, "{reason:?}");
        }
        assert_eq!(app.connections(), 1, "a reset ends its stream and nothing else");
    }
}

/// As with HTTP/1.1: what may have been processed is repeated only where nobody can notice.
#[test]
fn a_connection_that_breaks_under_a_request_is_forgiven_only_where_it_was_kept_and_the_request_harmless() {
    let broken = |requests: &[(&str, u16)]| {
        let app = FrameApp::scripted(|mut frames: Frames| {
            if let Some(first) = frames.next_of(HEADERS) {
                frames.answer(first.stream);
            }
            if frames.number > 0 {
                while let Some(request) = frames.next_of(HEADERS) {
                    frames.answer(request.stream);
                }
            }
            frames.next_of(HEADERS);
        });
        let usher = usher(&[app.url()], "");
        for (request, status) in requests {
            assert_eq!(answered(&usher, request).status, *status, "{requests:?}");
        }
        app.connections()
    };
    assert_eq!(broken(&[(GET, 200), (GET, 200), (GET, 200)]), 2);
    assert_eq!(broken(&[(GET, 200), (POST, 502), (GET, 200)]), 2);
}
