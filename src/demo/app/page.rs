//! The page of the sample app. What came with the request reaches the page only as [`Html`], which is escaped.

use std::fmt;

use http::{HeaderMap, header, request::Parts};

use super::shops::{Product, SHOPS, Shop};

const TEMPLATE: &str = include_str!("page.html");
const PLATFORM: &str = "platform.localhost";

/// The page that `app` answers to a request.
pub(super) fn render(app: &str, head: &Parts) -> String {
    let visit = Visit::read(head);
    let page = visit.page();
    fill(
        TEMPLATE,
        &[
            ("theme", Html::text(page.theme)),
            ("title", Html::text(&page.title)),
            ("initial", initial(&page.title)),
            ("lead", Html::text(page.lead)),
            ("content", page.content),
            ("links", visit.links()),
            ("facts", visit.facts(app)),
            ("headers", rows(head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))),
        ],
    )
}

/// What the page says about the request.
struct Visit<'a> {
    method: &'a str,
    target: String,
    host: &'a str,
    matched: &'a str,
    store: Option<&'a str>,
    prefix: &'a str,
    headers: &'a HeaderMap,
}

/// What differs from one kind of page to the next.
struct Page {
    theme: &'static str,
    title: String,
    lead: &'static str,
    content: Html,
}

impl<'a> Visit<'a> {
    fn read(head: &'a Parts) -> Self {
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            method: head.method.as_str(),
            target: head.uri.to_string(),
            host: text("host").unwrap_or_default(),
            matched: text("x-store-match").unwrap_or_default(),
            store: text("x-store-id"),
            prefix: text("x-forwarded-prefix").filter(|prefix| prefix.starts_with("/store/")).unwrap_or_default(),
            headers: &head.headers,
        }
    }

    fn page(&self) -> Page {
        match (self.store, self.matched) {
            (Some(id), _) => self.store_page(id),
            (None, "homepage") => self.homepage(),
            (None, "admin") => self.admin_page(),
            (None, _) => Page {
                theme: "plain",
                title: "Sample app".into(),
                lead: "This request did not come through usher: nothing in it says which store is meant.",
                content: Html::default(),
            },
        }
    }

    fn store_page(&self, id: &str) -> Page {
        let Some(shop) = Shop::find(id) else {
            return Page {
                theme: "plain",
                title: format!("Store {id}"),
                lead: "The router knows this store; the sample app has no shelf for it.",
                content: Html::default(),
            };
        };
        let cards = shop.products.iter().map(|product| self.product(product)).collect();
        Page { theme: shop.label, title: shop.name.into(), lead: shop.motto, content: cards }
    }

    fn homepage(&self) -> Page {
        let cards = SHOPS.iter().map(|shop| {
            let href = self.href(&format!("{}.{PLATFORM}", shop.label), "/");
            card(&href, shop.products[0].icon, shop.name, shop.motto, "Visit")
        });
        Page {
            theme: "platform",
            title: "Platform".into(),
            lead: "The homepage of the platform itself. No store is meant, so there is no X-Store-Id.",
            content: cards.collect(),
        }
    }

    fn admin_page(&self) -> Page {
        Page {
            theme: "admin",
            title: "Administration".into(),
            lead: "The admin app belongs to every store and to none: it is reached without an X-Store-Id.",
            content: Html::default(),
        }
    }

    fn product(&self, product: &Product) -> Html {
        let href = Html::text(&format!("{}/products/{}", self.prefix, product.slug));
        card(&href, product.icon, product.name, product.note, product.price)
    }

    fn links(&self) -> Html {
        let mut links = vec![("Platform", PLATFORM.to_owned(), "/")];
        links.extend(SHOPS.iter().map(|shop| (shop.name, format!("{}.{PLATFORM}", shop.label), "/")));
        links.push(("By path", "localhost".to_owned(), "/store/store1/"));
        links.push(("Admin", format!("admin.{PLATFORM}"), "/"));
        links.into_iter().map(|(text, host, path)| self.link(text, &host, path)).collect()
    }

    fn link(&self, text: &str, host: &str, path: &str) -> Html {
        let here = split_port(self.host).0 == host;
        let current = if here { " aria-current=\"page\"" } else { "" };
        Html(format!("<a href=\"{}\"{current}>{}</a>", self.href(host, path), Html::text(text)))
    }

    /// An address on another host, at the port on which the visitor found this one.
    fn href(&self, host: &str, path: &str) -> Html {
        let colon = if self.port().is_empty() { "" } else { ":" };
        Html::text(&format!("http://{host}{colon}{}{path}", self.port()))
    }

    fn port(&self) -> &str {
        let forwarded = || self.headers.get("x-forwarded-port").and_then(|value| value.to_str().ok());
        split_port(self.host).1.or_else(forwarded).filter(|port| port.parse::<u16>().is_ok()).unwrap_or_default()
    }

    fn facts(&self, app: &str) -> Html {
        let header = |name: &str| self.headers.get(name).map_or(&b"none"[..], |value| value.as_bytes());
        let request = format!("{} {}", self.method, self.target);
        let facts: [(&str, &[u8]); 7] = [
            ("App server", app.as_bytes()),
            ("Host", header(header::HOST.as_str())),
            ("Request", request.as_bytes()),
            ("X-Store-Id", header("x-store-id")),
            ("X-Store-Match", header("x-store-match")),
            ("X-Forwarded-Prefix", header("x-forwarded-prefix")),
            ("X-Request-Id", header("x-request-id")),
        ];
        rows(facts.into_iter())
    }
}

/// Text that can stand in an HTML document or in a quoted attribute of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Html(String);

impl Html {
    /// Takes text from anywhere and makes it mean itself.
    fn text(text: &str) -> Self {
        let mut escaped = String::with_capacity(text.len());
        for character in text.chars() {
            match character {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '"' => escaped.push_str("&quot;"),
                '\'' => escaped.push_str("&#39;"),
                other => escaped.push(other),
            }
        }
        Self(escaped)
    }
}

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromIterator<Self> for Html {
    fn from_iter<I: IntoIterator<Item = Self>>(parts: I) -> Self {
        Self(parts.into_iter().map(|part| part.0).collect())
    }
}

/// Replaces each `{{name}}` of the template in one pass, so that no value is ever read as a template itself.
fn fill(template: &str, values: &[(&str, Html)]) -> String {
    let mut page = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, (name, after))) =
        rest.split_once("{{").and_then(|(before, tail)| Some((before, tail.split_once("}}")?)))
    {
        page.push_str(before);
        page.extend(values.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.0.as_str()));
        rest = after;
    }
    page.push_str(rest);
    page
}

fn rows<'a>(pairs: impl Iterator<Item = (&'a str, &'a [u8])>) -> Html {
    let row = |(name, value)| {
        Html(format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n",
            Html::text(name),
            Html::text(&String::from_utf8_lossy(value))
        ))
    };
    pairs.map(row).collect()
}

fn card(href: &Html, icon: &str, name: &str, note: &str, action: &str) -> Html {
    let [icon, name, note, action] = [icon, name, note, action].map(Html::text);
    Html(format!(
        "<li><a class=\"card\" href=\"{href}\"><svg aria-hidden=\"true\"><use href=\"#{icon}\"/></svg>\
         <strong>{name}</strong><span>{note}</span><em>{action}</em></a></li>\n"
    ))
}

/// The letter in the round: of the last word, since every shop is a "Shop".
fn initial(title: &str) -> Html {
    let word = title.rsplit(' ').next().unwrap_or_default();
    word.chars().take(1).map(|letter| Html::text(letter.encode_utf8(&mut [0; 4]))).collect()
}

/// Host and port of a `Host` field; the colons of an IPv6 literal separate nothing.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn page(target: &str, headers: &[(&str, &[u8])]) -> String {
        let request = headers.iter().fold(Request::get(target), |request, (name, value)| request.header(*name, *value));
        render("app-1", &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_store_sees_its_own_name_and_products() {
        let alpha = page("/", &[("host", b"customdomain1.com"), ("x-store-id", b"1")]);
        assert!(alpha.contains("<h1>Shop Alpha</h1>"));
        assert!(alpha.contains("Stoneware cup") && !alpha.contains("Ridge tent"));
    }

    #[test]
    fn a_store_that_the_app_does_not_know_is_named_by_its_id() {
        assert!(page("/", &[("x-store-id", b"4711")]).contains("<h1>Store 4711</h1>"));
    }

    #[test]
    fn homepage_and_admin_belong_to_no_store() {
        assert!(page("/", &[("x-store-match", b"homepage")]).contains("<h1>Platform</h1>"));
        assert!(page("/", &[("x-store-match", b"admin")]).contains("<h1>Administration</h1>"));
        assert!(page("/", &[]).contains("did not come through usher"));
    }

    #[test]
    fn links_lead_to_the_port_that_the_visitor_used() {
        let by_host = page("/", &[("host", b"localhost:8123"), ("x-forwarded-port", b"80")]);
        assert!(by_host.contains("http://store1.platform.localhost:8123/"));
        let forwarded = page("/", &[("host", b"customdomain1.com"), ("x-forwarded-port", b"8080")]);
        assert!(forwarded.contains("http://store1.platform.localhost:8080/"));
        let neither = page("/", &[("host", b"[::1]")]);
        assert!(neither.contains("http://store1.platform.localhost/"));
    }

    #[test]
    fn products_stay_below_the_prefix_of_a_path_store() {
        let page = page("/", &[("x-store-id", b"1"), ("x-forwarded-prefix", b"/store/store1")]);
        assert!(page.contains("href=\"/store/store1/products/cup\""));
    }

    #[test]
    fn nothing_from_the_request_becomes_markup() {
        let hostile = b"\"><script>alert('x')</script>&\xff";
        let names = ["host", "x-store-id", "x-store-match", "x-forwarded-prefix", "x-forwarded-port", "x-request-id"];
        for name in names {
            for store in [&b"1"[..], b"9"] {
                let page = page("/?'alert('", &[(name, hostile), ("x-store-id", store), ("cookie", hostile)]);
                assert!(!page.contains("<script") && !page.contains("alert('"), "{name}");
            }
        }
    }

    #[test]
    fn a_prefix_that_is_no_path_makes_no_link() {
        for prefix in [&b"javascript:alert(1)//"[..], b"//evil.example", b"https://evil.example"] {
            let page = page("/", &[("x-store-id", b"1"), ("x-forwarded-prefix", prefix)]);
            assert!(page.contains("href=\"/products/cup\""));
        }
    }

    #[test]
    fn a_value_is_never_read_as_a_template() {
        let values = [("a", Html::text("{{b}}")), ("b", Html::text("secret"))];
        assert_eq!(fill("<{{a}}|{{b}}|{{unknown}}>{{", &values), "<{{b}}|secret|>{{");
    }

    #[test]
    fn every_placeholder_of_the_template_is_filled() {
        assert!(!page("/", &[("x-store-id", b"1")]).contains("{{"));
    }

    #[test]
    fn every_drawing_that_a_shop_uses_exists() {
        for product in SHOPS.iter().flat_map(|shop| &shop.products) {
            assert!(TEMPLATE.contains(&format!("<symbol id=\"{}\"", product.icon)), "{}", product.icon);
        }
    }
}
