//! `usher demo`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use usher::{app::Addresses, demo::Options, telemetry::logging};

use super::{Failure, Outcome};

/// Show the whole product, with nothing installed
///
/// Makes an SQLite file with two example stores, starts two sample app servers inside this process and the router in front of
/// them, prints URLs that open in a browser as they are and curl lines for the custom domains, and runs until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  usher demo
  usher demo --http 127.0.0.1:0 --admin 127.0.0.1:0    where the usual ports are taken
  usher demo --folder ./demo                           keeps the database")]
pub(crate) struct Demo {
    /// Where the router listens; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Where health and metrics are; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
    admin: SocketAddr,
    /// Where the database is kept; without it, a temporary folder that goes away with the demo
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<Outcome, Failure> {
        let Self { http, admin, folder } = self;
        let log = logging::Settings { filter: "warn".to_owned(), json: false };
        logging::init(&log).map_err(Failure::Logging)?;
        usher::demo::run(Options { http, admin, folder }, greet).await.map_err(Failure::Demo)?;
        Ok(Outcome::default())
    }
}

/// What to click and what to paste.
#[expect(clippy::print_stdout, reason = "the commands talk to stdout")]
fn greet(addresses: &Addresses) {
    let Some(http) = addresses.http.first() else { return };
    println!("{}", greeting(*http, addresses.admin));
}

fn greeting(http: SocketAddr, admin: SocketAddr) -> String {
    let port = http.port();
    format!(
        "\
usher runs. These open in a browser as they are:

  http://store1.platform.localhost:{port}/    Shop Alpha, by its subdomain
  http://store2.platform.localhost:{port}/    Shop Beta
  http://localhost:{port}/store/store1/       Shop Alpha, by a path
  http://platform.localhost:{port}/           the platform's homepage
  http://admin.platform.localhost:{port}/     the administration

The customers' own domains, with curl:

  curl -H 'Host: customdomain1.com' http://{http}/        Shop Alpha
  curl -H 'Host: shop.alpha.com' http://{http}/           Shop Alpha
  curl -H 'Host: customdomain2.com' http://{http}/        Shop Beta
  curl -i -H 'Host: www.customdomain1.com' http://{http}/ 308 to customdomain1.com
  curl -i -H 'Host: nobody.example' http://{http}/        404
  curl -H 'Host: shop.alpha.com' -H 'X-Store-Id: 2' http://{http}/   still Shop Alpha

Health and metrics: http://{admin}/ready and http://{admin}/metrics
One JSON line per request follows. Ctrl-C ends the demo.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_leads_to_the_ports_really_bound() {
        let text = greeting("127.0.0.1:4321".parse().unwrap(), "127.0.0.1:9876".parse().unwrap());
        assert!(text.contains("http://store1.platform.localhost:4321/"), "{text}");
        assert!(text.contains("http://127.0.0.1:4321/"), "{text}");
        assert!(text.contains("http://127.0.0.1:9876/ready"), "{text}");
    }
}
