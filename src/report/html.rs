//! The page of `ashore report --html`: all stops in one file that needs nothing else. Its content is there without JavaScript; page.js
//! adds sorting and filtering, and its Content-Security-Policy lets nothing else run, load or be sent.

mod entry;
mod picture;
mod summary;
mod text;

use crate::stop::Stop;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use std::fmt::Write;
use text::sentence;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The most stops of a page: so many, each with all that can be known of it, are a file of 30 MB, which a browser opens in seconds.
pub const MOST: usize = 5000;

/// The page, with the newest stops first. At most [`MOST`] are shown, and the page says how many there were.
///
/// All texts may be untrusted.
pub fn page(stops: &[Stop], title: &str) -> String {
    let mut shown: Vec<&Stop> = stops.iter().collect();
    shown.sort_by(|a, b| b.finished_at.cmp(&a.finished_at));
    shown.truncate(MOST);
    let mut out = String::with_capacity(32 * 1024 + shown.len() * 4096);
    head(&mut out, title);
    let _ = writeln!(out, "<header>\n<h1>{}</h1>", sentence(title));
    if !shown.is_empty() {
        summary::facts(&mut out, &shown, stops.len());
        out.push_str("</header>\n<main>\n");
        summary::causes(&mut out, &shown);
        summary::filters(&mut out, &shown);
        table(&mut out, &shown);
    } else {
        out.push_str("</header>\n<main>\n<p class=\"empty\">There are no stops: no container in what was asked for has ended.</p>\n");
    }
    let _ = write!(
        out,
        "</main>\n<footer>Made by ashore {}. Times of day are UTC; those of a timeline are seconds from the stop signal, or from the end of the \
         program's own process if there was none.</footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    out
}

fn head(out: &mut String, title: &str) {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())));
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src {}; script-src {}; img-src data:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types page\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n<script>{SCRIPT}</script>\n</head>\n<body>\n{}",
        hash(STYLE),
        hash(SCRIPT),
        sentence(title),
        picture::SHARED
    );
}

/// The table of all stops: a row, and a row below it with the rest, which page.js opens and closes.
fn table(out: &mut String, stops: &[&Stop]) {
    out.push_str(
        "<div class=\"stops\">\n<table id=\"stops\">\n<caption>Stops, each of which opens its findings and its timeline</caption>\n<thead><tr>\
         <th scope=\"col\">Pod, container</th><th scope=\"col\" class=\"namespace\">Namespace</th><th scope=\"col\" class=\"workload\">Workload</th>\
         <th scope=\"col\" class=\"when\" aria-sort=\"descending\">Ended (UTC)</th><th scope=\"col\">Outcome</th><th scope=\"col\">Cause</th>\
         <th scope=\"col\" class=\"number\">Killed</th><th scope=\"col\" class=\"number\">Took</th></tr></thead>\n",
    );
    for (at, stop) in stops.iter().enumerate() {
        entry::write(out, stop, at + 1, stops.len() == 1);
    }
    out.push_str(
        "</table>\n<p class=\"empty\" id=\"nothing\" hidden>No stop is like that. <button type=\"button\">Show all</button></p>\n<p id=\"more\" hidden><button type=\"button\">Show more</button></p>\n</div>\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn stops(of: Value) -> Vec<Stop> {
        serde_json::from_value(of).unwrap()
    }

    fn stop(pod: &str, finished: &str) -> Value {
        json!({"namespace": "shop", "pod": pod, "uid": "u", "container": "app", "run": 0, "wrapped": true, "outcome": "drained", "finishedAt": finished})
    }

    #[test]
    fn the_newest_is_first() {
        let page = page(&stops(json!([stop("old", "2026-01-01T00:00:00Z"), stop("new", "2026-01-02T00:00:00Z")])), "x");
        assert!(page.find("<b>new</b>").unwrap() < page.find("<b>old</b>").unwrap());
    }

    #[test]
    fn no_stops_are_a_page_that_says_so() {
        let page = page(&[], "x");
        assert!(page.contains("There are no stops") && !page.contains("<table"), "{page}");
    }

    #[test]
    fn no_text_gets_out_of_its_place() {
        const FORGED: &str = "</noscript></script></style><script>alert(1)</script>\" onload='x' \u{2028}\u{202e}<!--";
        let mut forged = stop(FORGED, FORGED);
        for field in ["namespace", "container", "uid", "policy", "node", "requestedAt", "startedAt", "reason"] {
            forged[field] = json!(FORGED);
        }
        forged["workload"] = json!({"kind": FORGED, "name": FORGED});
        forged["causes"] = json!([{"cause": "StillAtWork", "process": {"pid": 1, "name": FORGED}, "what": FORGED, "remedy": FORGED}]);
        let slow = json!({"pid": 3, "name": FORGED, "askedMs": 1, "tookMs": 2});
        forged["report"] = json!({"ashore": 1, "signal": FORGED, "main": {"pid": 2, "name": FORGED, "signal": FORGED}, "exitCode": 1, "durationMs": 1,
            "victims": [{"pid": 4, "name": FORGED, "why": "caught", "state": FORGED, "asked": FORGED, "askedMs": 1}], "slowest": [slow], "killedByOthers": [{"pid": 5, "name": FORGED, "atMs": 1}]});
        let stops = stops(json!([forged]));
        let page = page(&stops, FORGED);
        // What the page itself has of these is known from one with nothing in it.
        let plain = super::page(&[], "x");
        for part in ["<script", "</script", "</style", "<!--", "\u{2028}", "\u{202e}"] {
            assert_eq!(page.matches(part).count(), plain.matches(part).count(), "{part}");
        }
        assert_eq!(page.matches("</noscript").count(), 1);
        let tags = page.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag);
        for tag in tags.filter(|tag| tag.contains("onload")) {
            assert!(!tag.contains("onload='"), "{tag}");
        }
    }

    #[test]
    fn more_than_it_can_bear_is_said() {
        let many = stops(Value::Array(vec![stop("web", "2026-01-01T00:00:00Z"); MOST + 1]));
        let page = page(&many, "x");
        assert_eq!(page.matches("<tbody").count(), MOST);
        assert!(page.contains("The newest 5,000 of 5,001 stops."));
    }
}
