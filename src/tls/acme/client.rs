//! HTTP towards a CA: under deadlines, with little memory, and hearing how long it wants to be left alone.

use std::{
    cell::Cell,
    fs, io,
    path::Path,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, Request, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Pooled, connect::HttpConnector},
    rt::TokioExecutor,
};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject},
    },
};
use tokio::time::timeout;

use super::failure::{OrderError, WAIT_MAX};

/// For one request, its answer included. CAs that are busy take seconds.
const WITHIN: Duration = Duration::from_secs(30);

/// Of an answer. A certificate with those behind it has some 6 KB.
const BODY_MAX: usize = 256 * 1024;

tokio::task_local! {
    /// How long the CA wanted to be left alone when it last refused something within this order.
    static TOLD: Cell<Option<Duration>>;
}

/// Runs `work`, whose failures then know how long the CA wants to be left alone.
pub(super) async fn hearing<T>(work: impl Future<Output = T>) -> T {
    TOLD.scope(Cell::new(None), work).await
}

impl From<Error> for OrderError {
    fn from(cause: Error) -> Self {
        Self::Ca { cause, retry_after: TOLD.try_with(Cell::take).ok().flatten() }
    }
}

/// Requests to a CA, over HTTP/1.1: an order has one request at a time. On HTTP/2 all orders would share one connection, and where that
/// stands still each of them waits in vain, whatever is tried again.
pub(super) struct Client {
    pooled: Pooled<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
}

impl Client {
    /// A client that trusts the certificate in `root`, else what the system and browsers trust.
    pub(super) fn new(root: Option<&Path>) -> Result<Self, OrderError> {
        let roots =
            root.map_or_else(public_roots, private_root).map_err(|error| OrderError::Client(error.to_string()))?;
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| OrderError::Client(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1();
        Ok(Self { pooled: Pooled::builder(TokioExecutor::new()).build(connector.build()) })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let asked = self.pooled.request(request);
        Box::pin(async move {
            let exchange = async {
                let (mut parts, body) = asked.await.map_err(|error| Error::Other(Box::new(error)))?.into_parts();
                let told = hear(&mut parts.headers, SystemTime::now());
                if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&parts.status) {
                    let _outside_of_an_order = TOLD.try_with(|cell| cell.set(told));
                }
                let body = Limited::new(body, BODY_MAX).collect().await.map_err(Error::Other)?.to_bytes();
                Ok(BytesResponse { parts, body: Box::new(body) })
            };
            timeout(WITHIN, exchange).await.unwrap_or(Err(Error::Timeout(None)))
        })
    }
}

/// How long the CA wants to be left alone, [`WAIT_MAX`] at most; others who read the header find that too, and can add it to a time.
fn hear(headers: &mut HeaderMap, now: SystemTime) -> Option<Duration> {
    let told = retry_after(headers, now)?.min(WAIT_MAX);
    headers.insert(RETRY_AFTER, HeaderValue::from(told.as_secs()));
    Some(told)
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| httpdate::parse_http_date(text).ok()?.duration_since(now).ok())
}

fn private_root(path: &Path) -> io::Result<RootCertStore> {
    let text = fs::read(path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
    let unusable = |cause: String| io::Error::other(format!("{}: {cause}", path.display()));
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let mut roots = RootCertStore::empty();
    for certificate in certificates.map_err(|error| unusable(error.to_string()))? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("there is no CERTIFICATE in it".to_owned())) } else { Ok(roots) }
}

/// Those of the system, and where it has none those that browsers trust.
#[expect(clippy::unnecessary_wraps, reason = "one of two ways, of which the other can fail")]
fn public_roots() -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn the_wish_to_be_left_alone_is_told_in_seconds_or_as_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_mins(1)));
        assert_eq!([read("soon"), read("-1"), read("Sun, 06 Nov 1994 08:49:36 GMT")], [None; 3]);
    }

    #[test]
    fn the_wish_to_be_left_alone_has_an_end() {
        let heard = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            let told = hear(&mut headers, UNIX_EPOCH);
            (told.map(|told| told.as_secs()), headers[RETRY_AFTER].to_str().unwrap().to_owned())
        };
        assert_eq!(heard("120"), (Some(120), "120".to_owned()));
        for endless in [u64::MAX.to_string().as_str(), "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(heard(endless), (Some(86_400), "86400".to_owned()), "{endless}");
        }
        assert_eq!(heard("soon"), (None, "soon".to_owned()));
    }

    #[test]
    fn a_root_that_is_none_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.pem");
        let refused = |path: &Path| Client::new(Some(path)).err().unwrap().to_string();
        assert!(refused(&path).contains("root.pem: No such file"), "{}", refused(&path));
        fs::write(&path, "nothing").unwrap();
        assert!(refused(&path).ends_with("root.pem: there is no CERTIFICATE in it"), "{}", refused(&path));
    }
}
