//! What the other tests rely on: that the harness sees what it says it sees.

use crate::support::{App, Backend, Client, Cluster, Tables};

#[test]
fn a_client_knows_half_an_answer_from_a_whole_one() {
    for (answer, complete) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfull", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfull\r\n0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf", false),
    ] {
        let app = App::scripted(move |mut conversation| {
            conversation.head();
            conversation.write(answer).unwrap();
        });
        let response = Client::connect(app.address()).send("GET / HTTP/1.1\r\n\r\n").response();
        assert_eq!(response.complete, complete, "{answer:?}");
    }
}

#[test]
fn an_app_shows_every_header_that_folds_to_a_name() {
    let app = App::echo();
    let request = "GET / HTTP/1.1\r\nX-Store-Id: 1\r\nx_store_id: 2\r\nX-Store: 3\r\n\r\n";
    assert_eq!(Client::connect(app.address()).send(request).response().status, 200);
    assert_eq!(app.last().folded("x-store-id"), ["1", "2"]);
}

#[test]
fn a_cluster_counts_queries_by_their_values_and_comes_back_after_a_stop() {
    let cluster = Cluster::start();
    let (one, other) = (Tables::none_on(&cluster), Tables::none_on(&cluster));
    one.execute("CREATE TABLE kept (name text)");
    assert_eq!(one.query_with_value("SELECT 1 FROM kept WHERE name = $1", "a"), 0);
    one.query_with_value("INSERT INTO kept VALUES ($1) RETURNING 1", "a");
    assert_eq!(one.query_with_value("SELECT 1 FROM kept WHERE name = $1", "a"), 1);
    assert_eq!((cluster.queries_with(one.url(), "a"), cluster.queries_with(other.url(), "a")), (3, 0));

    cluster.stop();
    cluster.start_again();
    assert_eq!(one.query_with_value("SELECT 1 FROM kept WHERE name = $1", "a"), 1);
    cluster.freeze();
    cluster.wake();
    assert_eq!(cluster.queries_with(one.url(), "a"), 4);
}

#[test]
fn every_test_has_tables_of_its_own() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let (one, other) = (Tables::none(backend), Tables::none(backend));
        one.execute("CREATE TABLE mine (id integer)");
        other.execute("CREATE TABLE mine (id integer)");
        assert_ne!(one.url(), other.url());
    }
}
