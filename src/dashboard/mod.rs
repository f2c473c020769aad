//! The operators' page at `/`: static files, embedded in the binary, that work offline.
//!
//! [`PAGE`] is served at `/` and the [`ASSETS`] below `/dashboard/`. The page asks `actors`, `metrics`, `health`
//! and `ready` once a second, all by relative addresses, so it works under any `BASE_PATH` as long as its own
//! address ends with a slash. It needs no other origin, no inline script and no inline style: serve it
//! with [`CONTENT_SECURITY_POLICY`].

/// The policy under which the page works: nothing but our own origin, no inline script, never in a frame.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; style-src 'self'; script-src 'self'; \
     object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A static file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// The file's name: what follows `/dashboard/` in its address.
    pub name: &'static str,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The bytes, as they go out.
    pub body: &'static [u8],
}

/// The page itself, for `/`.
pub const PAGE: Asset = Asset {
    name: "index.html",
    content_type: "text/html; charset=utf-8",
    body: include_bytes!("index.html"),
};

const fn script(name: &'static str, body: &'static [u8]) -> Asset {
    Asset { name, content_type: "text/javascript; charset=utf-8", body }
}

/// What the page loads, for `/dashboard/{name}`.
pub const ASSETS: &[Asset] = &[
    script("dashboard.js", include_bytes!("dashboard.js")),
    script("chart.js", include_bytes!("chart.js")),
    script("format.js", include_bytes!("format.js")),
    script("metrics.js", include_bytes!("metrics.js")),
    script("tree.js", include_bytes!("tree.js")),
    Asset {
        name: "dashboard.css",
        content_type: "text/css; charset=utf-8",
        body: include_bytes!("dashboard.css"),
    },
    Asset { name: "icon.svg", content_type: "image/svg+xml", body: include_bytes!("icon.svg") },
];

/// The asset of this name.
pub fn find_asset(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn text(asset: &Asset) -> &'static str {
        std::str::from_utf8(asset.body).unwrap()
    }

    /// What stands between each `opening` and the next double quote.
    fn quoted_after<'a>(text: &'a str, opening: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(opening).skip(1).map(|rest| rest.split('"').next().unwrap())
    }

    #[test]
    fn every_file_that_the_page_names_is_embedded() {
        let page = text(&PAGE);
        let named: Vec<_> =
            quoted_after(page, "src=\"").chain(quoted_after(page, "<link rel=\"icon\" href=\"")).collect();
        assert!(named.len() >= 2, "{named:?}");
        for address in named.into_iter().chain(quoted_after(page, "rel=\"stylesheet\" href=\"")) {
            let name = address.strip_prefix("dashboard/").unwrap();
            assert!(find_asset(name).is_some(), "{address} is not embedded");
        }
        let scripts = ASSETS.iter().filter(|asset| asset.name.ends_with(".js"));
        for import in scripts.flat_map(|asset| quoted_after(text(asset), "from \"./")) {
            assert!(find_asset(import).is_some(), "{import} is not embedded");
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_no_address_is_absolute() {
        for asset in ASSETS.iter().chain([&PAGE]) {
            let text = text(asset).replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http://", "https://", "src=\"/", "href=\"/", "fetch(\"/", "@import", "url("] {
                assert!(!text.contains(foreign), "{} holds {foreign}", asset.name);
            }
        }
    }

    #[test]
    fn data_never_becomes_markup_or_code() {
        for asset in ASSETS.iter().chain([&PAGE]) {
            for way in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!text(asset).contains(way), "{} uses {way}", asset.name);
            }
        }
        let page = text(&PAGE);
        assert!(!page.contains("<script>") && !page.contains("<style") && !page.contains(" style="));
        assert!(!page.contains(" onclick=") && !page.contains(" onload="));
    }
}
