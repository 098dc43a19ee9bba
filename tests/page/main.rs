//! The page of `ashore report --html` in a real browser.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod browser;
mod stops;

use ashore_report::Stop;
use ashore_report::html::page;
use ashore_tests::harness;
use ashore_tests::{Outcome, Skip};
use browser::Page;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Instant;

const TITLE: &str = "Stops of the last hour";
/// The rows' pods, in the order that they are shown in.
const SHOWN: &str = "[...document.querySelectorAll('#stops > tbody:not([hidden]) > tr:first-child b')].map(pod => pod.textContent)";
/// The few in the order of their names, and the newest first.
const BY_NAME: [&str; 6] = ["db-0", "legacy-77b9c-aaaaa", "lost-1", "nightly-29384756-kx7fz", "web-6c5b8f7d9-q7lmp", "web-6c5b8f7d9-x2x8k"];
const NEWEST_FIRST: [&str; 6] =
    ["db-0", "legacy-77b9c-aaaaa", "web-6c5b8f7d9-x2x8k", "web-6c5b8f7d9-q7lmp", "nightly-29384756-kx7fz", "lost-1"];

fn main() -> ExitCode {
    let tests: &[harness::Test] = &[
        ("it_loads_nothing_and_has_nothing_to_complain_of", it_loads_nothing_and_has_nothing_to_complain_of),
        ("its_policy_lets_nothing_be_loaded_or_sent", its_policy_lets_nothing_be_loaded_or_sent),
        ("columns_sort_by_click_and_by_key", columns_sort_by_click_and_by_key),
        ("rows_open_by_click_and_by_key", rows_open_by_click_and_by_key),
        ("the_filter_narrows_and_counts", the_filter_narrows_and_counts),
        ("the_keyboard_reaches_all_and_leaves", the_keyboard_reaches_all_and_leaves),
        ("assistive_technology_is_told_what_things_are", assistive_technology_is_told_what_things_are),
        ("texts_and_marks_have_contrast_in_light_and_in_dark", texts_and_marks_have_contrast_in_light_and_in_dark),
        ("nothing_moves_by_itself", nothing_moves_by_itself),
        ("on_paper_all_is_open_and_nothing_to_press", on_paper_all_is_open_and_nothing_to_press),
        ("a_narrow_screen_shows_it_all", a_narrow_screen_shows_it_all),
        ("at_no_width_is_a_cell_cut", at_no_width_is_a_cell_cut),
        ("without_scripts_it_is_all_there", without_scripts_it_is_all_there),
        ("forged_text_is_text", forged_text_is_text),
        ("no_stops_are_said", no_stops_are_said),
        ("thousands_sort_and_filter", thousands_sort_and_filter),
        ("what_thousands_cost", what_thousands_cost),
    ];
    harness::run_without_sandbox(tests, 2)
}

fn open(stops: &[Stop]) -> Result<Page, Skip> {
    browser::possible()?;
    Ok(Page::open(&page(stops, TITLE)))
}

fn it_loads_nothing_and_has_nothing_to_complain_of() -> Outcome {
    for stops in [stops::few(), stops::forged(), Vec::new()] {
        let page = open(&stops)?;
        page.eval("document.querySelectorAll('#stops tbody button').forEach(button => button.click())");
        page.drawn();
        assert_eq!(page.requests(), [""; 0]);
        assert_eq!(page.complaints(), [""; 0]);
    }
    Ok(())
}

/// Should a text get out of its place after all, this is what is left to it.
fn its_policy_lets_nothing_be_loaded_or_sent() -> Outcome {
    let page = open(&stops::few())?;
    let attempt = "new Promise(done => {
        const refused = [];
        addEventListener('securitypolicyviolation', event => { refused.push(event.effectiveDirective); if (refused.length === 4) done(refused.sort()); });
        document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/'}));
        fetch('http://127.0.0.1:9/').catch(() => 0);
        document.body.setAttribute('style', 'color: red');
        try { document.body.innerHTML += '<script>document.title = 1</script>' } catch {}
    })";
    assert_eq!(page.strings(attempt), ["connect-src", "img-src", "require-trusted-types-for", "style-src-attr"]);
    Ok(())
}

fn columns_sort_by_click_and_by_key() -> Outcome {
    let page = open(&stops::few())?;
    let column = |at: usize| format!("document.querySelectorAll('#stops > thead button')[{at}]");
    let sorted = || page.strings("[...document.querySelectorAll('[aria-sort]')].map(cell => cell.textContent + ' ' + cell.ariaSort)");
    assert_eq!((page.strings(SHOWN), sorted()), (NEWEST_FIRST.map(str::to_owned).to_vec(), vec!["Ended (UTC) descending".to_owned()]));

    page.click(&column(0));
    assert_eq!((page.strings(SHOWN), sorted()), (BY_NAME.map(str::to_owned).to_vec(), vec!["Pod, container ascending".to_owned()]));
    // The focus is on what was clicked.
    page.press("Enter");
    assert_eq!(page.strings(SHOWN), BY_NAME.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(sorted(), ["Pod, container descending"]);

    // Numbers are numbers, and what is not known is last both times.
    page.eval(&format!("{}.focus()", column(7)));
    let took = "[...document.querySelectorAll('#stops > tbody > tr:first-child > :nth-child(8)')].map(cell => cell.dataset.value)";
    page.press(" ");
    assert_eq!(page.strings(took), ["322", "29004", "30000", "", "", ""]);
    page.press(" ");
    assert_eq!(page.strings(took), ["30000", "29004", "322", "", "", ""]);
    assert_eq!(page.complaints(), [""; 0]);
    Ok(())
}

fn rows_open_by_click_and_by_key() -> Outcome {
    let page = open(&stops::few())?;
    let opened = || page.strings("[...document.querySelectorAll('#stops [aria-expanded=true] b')].map(pod => pod.textContent)");
    let seen = || {
        page.strings("[...document.querySelectorAll('.findings h4, .picture b')].filter(text => text.checkVisibility()).map(text => text.textContent)")
    };
    let third = "document.querySelectorAll('#stops > tbody')[2]";
    assert_eq!((opened().len(), seen().len()), (0, 0));
    page.eval(&format!("{third}.querySelector('button').focus()"));
    page.press("Enter");
    assert_eq!(opened(), ["web-6c5b8f7d9-x2x8k"]);
    assert_eq!(seen(), ["SignalIgnored", "WaitedForLock", "gunicorn[2]", "worker[9]", "flusher[12]", "uploader[10]", "logger[11]"]);
    page.press(" ");
    assert_eq!((opened().len(), seen().len()), (0, 0));

    // Anywhere in the row will do for a mouse, and one click is one change.
    page.click(&format!("{third}.rows[0].cells[1]"));
    assert_eq!(opened(), ["web-6c5b8f7d9-x2x8k"]);
    page.click(&format!("{third}.querySelector('button')"));
    assert_eq!(opened(), [""; 0]);

    // The only one is open from the start.
    let page = open(&stops::few()[..1])?;
    assert_eq!(
        page.eval(
            "document.querySelector('.picture').checkVisibility() && document.querySelector('#stops button[aria-expanded]').ariaExpanded"
        ),
        "true"
    );
    Ok(())
}

fn the_filter_narrows_and_counts() -> Outcome {
    let page = open(&stops::few())?;
    let status = || page.eval("document.querySelector('[role=status]').textContent");
    assert_eq!(status(), "6 of 6 stops, all shown");
    page.click("document.querySelector('[name=text]')");
    // A process in a timeline, in whatever case.
    page.write("FLUSHER");
    assert_eq!((page.strings(SHOWN), status()), (vec!["web-6c5b8f7d9-x2x8k".to_owned()], json!("1 of 6 stops, all shown")));
    page.write(" nobody");
    assert_eq!((page.strings(SHOWN).len(), status()), (0, json!("0 of 6 stops, all shown")));
    page.click("document.querySelector('#nothing button')");
    assert_eq!((page.strings(SHOWN).len(), status()), (6, json!("6 of 6 stops, all shown")));
    // Each word, wherever it stands; names and moments as they are told elsewhere; and none of the page's own.
    page.click("document.querySelectorAll('#stops > tbody')[2].querySelector('button')");
    for (text, found) in [
        ("flusher gunicorn", vec!["web-6c5b8f7d9-x2x8k"]),
        ("  killed   LEGACY ", vec!["legacy-77b9c-aaaaa"]),
        ("shop/web-6c5b8f7d9-q", vec!["web-6c5b8f7d9-q7lmp"]),
        ("data/db-0 2026-03-04T10:07", vec!["db-0"]),
        ("2026-03-04 10:07", vec!["db-0"]),
        ("trap '' TERM", vec!["web-6c5b8f7d9-x2x8k"]),
        ("failed", vec!["nightly-29384756-kx7fz"]),
        ("timeline", vec![]),
        ("kubelet's reason", vec![]),
        ("what to do:", vec![]),
    ] {
        let value = format!("document.querySelector('[name=text]').value = {}", json!(text));
        page.eval(&format!("{value}; document.querySelector('[name=text]').dispatchEvent(new Event('input', {{bubbles: true}}))"));
        page.drawn();
        assert_eq!(page.strings(SHOWN), found, "{text}");
    }
    page.click("document.querySelector('[type=reset]')");
    page.click("document.querySelectorAll('#stops > tbody')[2].querySelector('button')");

    let options = |name: &str| page.strings(&format!("[...document.querySelector('[name={name}]')].map(option => option.textContent)"));
    assert_eq!(options("outcome"), ["all", "Killed (3)", "Failed (1)", "Unknown (1)", "Drained (1)"]);
    assert_eq!(options("namespace"), ["all", "data (2)", "shop (4)"]);
    assert!(options("cause").contains(&"WaitedForLock (1)".to_owned()));
    // One after the other with the keyboard; they add up.
    page.eval("document.querySelector('[name=outcome]').focus()");
    page.press("ArrowDown");
    assert_eq!(page.strings(SHOWN).len(), 3);
    // A stop is found by its second cause as well.
    page.eval("document.querySelector('[name=cause]').focus(); document.querySelector('[name=cause]').value = 'WaitedForLock'; document.querySelector('[name=cause]').dispatchEvent(new Event('input', {bubbles: true}))");
    page.drawn();
    assert_eq!(page.strings(SHOWN), ["web-6c5b8f7d9-x2x8k"]);
    page.eval("document.querySelector('[name=namespace]').focus()");
    page.press("ArrowDown");
    assert_eq!(page.strings(SHOWN), [""; 0]);
    page.click("document.querySelector('[type=reset]')");
    assert_eq!(page.strings(SHOWN).len(), 6);
    Ok(())
}

fn the_keyboard_reaches_all_and_leaves() -> Outcome {
    let page = open(&stops::few())?;
    let mut reached = Vec::new();
    for _ in 0..60 {
        page.press("Tab");
        let at = page.eval(
            "(at => at === document.body ? null : [at.name || (at.querySelector('b, h2') || at).textContent, getComputedStyle(at).outlineStyle])(document.activeElement)",
        );
        let Some(at) = at.as_array() else { break };
        assert_eq!(at[1], "solid", "the focus on {} is not seen", at[0]);
        reached.push(at[0].as_str().unwrap().to_owned());
    }
    let mut expected = vec!["Causes", "text", "outcome", "cause", "namespace", "Reset"];
    expected.extend(["Pod, container", "Namespace", "Workload", "Ended (UTC)", "Outcome", "Cause", "Killed", "Took"]);
    expected.extend(NEWEST_FIRST);
    assert_eq!(reached, expected);
    Ok(())
}

fn assistive_technology_is_told_what_things_are() -> Outcome {
    let page = open(&stops::few())?;
    page.click("document.querySelectorAll('#stops > tbody')[2].querySelector('button')");
    page.eval("document.querySelector('.more.open .timeline details').open = true");
    for width in [1280, 360] {
        page.resize(width);
        let nodes = page.nodes();
        let has = |role: &str, name: &str| {
            let like: Vec<_> = nodes.iter().filter(|(of, _)| of == role).collect();
            assert!(like.iter().any(|(_, of)| of == name), "{width}: no {role} is named {name}: {like:?}");
        };
        for landmark in ["banner", "main", "contentinfo"] {
            assert!(nodes.iter().any(|(role, _)| role == landmark), "{width}: {landmark}");
        }
        has("RootWebArea", TITLE);
        has("search", "Filter the stops");
        has("heading", TITLE);
        has("heading", "Stops");
        has("table", "Stops, each of which opens its findings and its timeline");
        has("table", "Timeline");
        has("columnheader", "Namespace");
        has("button", "Namespace");
        has("rowheader", "web-6c5b8f7d9-x2x8k app");
        has("button", "web-6c5b8f7d9-x2x8k app");
        has("rowheader", "worker[9]");
        has("cell", "killed: ignored SIGTERM");
        has("searchbox", "Text");
        has("combobox", "Outcome");
        // Marks for the eye are no part of a name.
        has("cell", "Killed");
        let pictures: Vec<_> = nodes.iter().filter(|(role, _)| role == "image").collect();
        let [(_, picture)] = pictures.as_slice() else { panic!("{width}: {pictures:?}") };
        assert!(picture.starts_with("Timeline. worker[9] at 29 s: killed: ignored SIGTERM. flusher[12] at 29 s: killed"), "{picture}");
    }
    let state = page.call("Accessibility.getFullAXTree", &json!({}));
    let expanded: Vec<_> = state["nodes"].as_array().unwrap().iter().filter(|node| node["role"]["value"] == "button").collect();
    let is_expanded = |node: &&Value| {
        node["properties"].as_array().unwrap().iter().any(|property| property["name"] == "expanded" && property["value"]["value"] == true)
    };
    let names: Vec<_> = expanded.into_iter().filter(is_expanded).map(|node| node["name"]["value"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["web-6c5b8f7d9-x2x8k app"]);
    Ok(())
}

fn texts_and_marks_have_contrast_in_light_and_in_dark() -> Outcome {
    let page = open(&stops::few())?;
    page.eval("document.querySelectorAll('#stops tbody button').forEach(button => button.click())");
    let mut grounds = Vec::new();
    for (media, scheme) in [("screen", "light"), ("screen", "dark"), ("print", "dark")] {
        page.emulate(media, scheme);
        let result = page.eval(include_str!("contrast.js"));
        assert!(result["checked"].as_u64().unwrap() > 150, "{result}");
        assert_eq!(result["poor"], json!([]), "{media} {scheme}");
        assert!(result["marks"].as_u64().unwrap() > 30, "{result}");
        grounds.push(page.eval("getComputedStyle(document.body).backgroundColor"));
    }
    // Paper is white, whatever the screen is.
    assert_eq!(grounds, ["rgb(255, 255, 255)", "rgb(13, 17, 23)", "rgb(255, 255, 255)"]);
    Ok(())
}

/// For whom motion is a trouble.
fn nothing_moves_by_itself() -> Outcome {
    let page = open(&stops::few())?;
    page.eval("document.querySelectorAll('#stops tbody button').forEach(button => button.click())");
    page.emulate("", "light");
    let moving = "[...document.querySelectorAll('*')].map(element => [element, getComputedStyle(element)]) \
        .filter(([, style]) => style.transitionDuration !== '0s' || style.animationName !== 'none' || style.scrollBehavior !== 'auto') \
        .map(([element]) => element.tagName)";
    assert_eq!(page.strings(moving), [""; 0]);
    Ok(())
}

fn on_paper_all_is_open_and_nothing_to_press() -> Outcome {
    let page = open(&stops::few())?;
    page.click("document.querySelector('[name=text]')");
    page.write("shop");
    let pictures =
        "[...document.querySelectorAll('.picture')].filter(picture => picture.checkVisibility({contentVisibilityAuto: true})).length";
    let controls = "[...document.querySelectorAll('input, select, [type=reset]')].filter(control => control.checkVisibility()).length";
    assert_eq!((page.eval(pictures), page.eval(controls)), (json!(0), json!(5)));
    page.emulate("print", "light");
    page.eval("dispatchEvent(new Event('beforeprint'))");
    // The two in `data` are filtered out, and `lost-1` has no picture.
    assert_eq!((page.eval(pictures), page.eval(controls)), (json!(3), json!(0)));
    assert_eq!(page.eval("getComputedStyle(document.querySelector('.timeline h3')).breakAfter"), "avoid", "a heading is not left alone");
    page.eval("dispatchEvent(new Event('afterprint'))");
    page.emulate("", "light");
    assert_eq!((page.eval(pictures), page.eval(controls)), (json!(0), json!(5)));

    page.eval("addEventListener('beforeprint', () => window.opened = document.querySelectorAll('.more details[open]').length)");
    let pdf = page.call("Page.printToPDF", &json!({}));
    assert!(pdf["data"].as_str().unwrap().len() > 10_000);
    // Each of the four has details, and three have a timeline's table in them; afterwards all is as it was.
    assert_eq!(page.eval("[window.opened, document.querySelectorAll('.more details[open]').length]"), json!([7, 0]));
    Ok(())
}

fn a_narrow_screen_shows_it_all() -> Outcome {
    for stops in [stops::few(), stops::forged(), Vec::new()] {
        let page = open(&stops)?;
        page.resize(360);
        page.eval("document.querySelectorAll('#stops tbody button').forEach(button => button.click())");
        page.drawn();
        assert_eq!(page.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth"), 0);
        let hidden = "[...document.querySelectorAll('#stops > thead button, #stops > tbody > tr:first-child > *')].filter(cell => !cell.checkVisibility()).length";
        assert_eq!(page.eval(hidden), 0);
    }
    Ok(())
}

fn at_no_width_is_a_cell_cut() -> Outcome {
    let page = open(&stops::few())?;
    // The longest word of that column.
    page.eval("document.querySelector('.outcome.drained').textContent = 'Completed'");
    for width in [700, 1000, 1024, 1030, 1100, 1200, 1270, 1400] {
        page.resize(width);
        let cut = "[...document.querySelectorAll('#stops > tbody > tr:first-child > td, #stops > thead th')] \
            .filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.textContent)";
        assert_eq!(page.strings(cut), [""; 0], "{width}");
    }
    Ok(())
}

fn without_scripts_it_is_all_there() -> Outcome {
    browser::possible()?;
    let page = Page::open_without_scripts(&page(&stops::few(), TITLE));
    // Nothing is there that would do nothing.
    assert_eq!(page.eval("[...document.querySelectorAll('button, input, select')].filter(control => control.checkVisibility()).length"), 0);
    assert_eq!(page.strings(SHOWN), NEWEST_FIRST);
    let third = "document.querySelectorAll('#stops > tbody')[2].querySelector";
    assert_eq!(page.eval(&format!("{third}('.picture').checkVisibility({{contentVisibilityAuto: true}})")), false);
    page.click(&format!("{third}('summary')"));
    assert_eq!(page.eval(&format!("{third}('.picture').checkVisibility({{contentVisibilityAuto: true}})")), true);
    Ok(())
}

fn forged_text_is_text() -> Outcome {
    browser::possible()?;
    let page = Page::open(&page(&stops::forged(), stops::FORGED));
    // As it is, but for what would turn the line.
    let text = stops::FORGED.replace(['\u{2028}', '\u{202e}'], "\u{fffd}");
    assert_eq!(page.eval("document.title"), text.as_str());
    assert_eq!(
        page.eval(
            "[document.querySelectorAll('script, style').length, document.querySelectorAll('img, iframe, [onerror], [onload]').length]"
        ),
        json!([2, 0])
    );
    page.eval("document.querySelectorAll('#stops tbody button').forEach(button => button.click())");
    for place in ["b", "td.namespace", ".findings p", ".remedy", ".picture b", ".timeline tbody th", ".facts dd"] {
        let has =
            format!("[...document.querySelectorAll('#stops > tbody {place}')].some(place => place.textContent.includes({}))", json!(text));
        assert_eq!(page.eval(&has), true, "{place}");
    }
    // It is found and chosen like any other.
    page.eval("document.querySelector('[name=namespace]').focus()");
    page.press("ArrowDown");
    assert_eq!(page.strings(SHOWN).len(), 1);
    assert!(page.complaints().is_empty(), "{:?}", page.complaints());
    Ok(())
}

fn no_stops_are_said() -> Outcome {
    let page = open(&[])?;
    assert!(page.nodes().iter().any(|(_, name)| name.starts_with("There are no stops")), "{:?}", page.nodes());
    assert_eq!(page.eval("document.querySelectorAll('table, form, button').length"), 0);
    Ok(())
}

fn thousands_sort_and_filter() -> Outcome {
    let page = open(&stops::many(5000))?;
    let file = std::fs::metadata(page.folder().join("page.html")).unwrap();
    let status = || page.eval("document.querySelector('[role=status]').textContent");
    assert_eq!(status(), "5,000 of 5,000 stops, the first 100 shown");
    page.click("document.querySelector('#more button')");
    assert_eq!((page.strings(SHOWN).len(), status()), (200, json!("5,000 of 5,000 stops, the first 200 shown")));
    page.click("document.querySelectorAll('#stops > thead button')[0]");
    assert_eq!(page.strings(SHOWN).len(), 100);
    assert_eq!(page.strings(SHOWN).first().map(String::as_str), Some("web-0-00000"));
    // What comes after them is what is sorted there.
    page.click("document.querySelector('#more button')");
    assert_eq!(page.strings(SHOWN).get(100).map(String::as_str), Some("web-1-00001"));
    page.click("document.querySelector('[name=text]')");
    page.write("00042");
    assert_eq!(page.strings(SHOWN), ["web-42-00042"]);
    assert_eq!(status(), "1 of 5,000 stops, all shown");
    page.click("document.querySelector('#stops > tbody:not([hidden]) button')");
    assert_eq!(page.eval("document.querySelector('#stops > tbody:not([hidden]) .picture').checkVisibility()"), true);
    // A mail or a ticket takes it, compressed, and a browser as it is.
    assert!(file.len() < 40 << 20, "{} bytes", file.len());
    Ok(())
}

/// Prints figures for docs/PERFORMANCE.md, on request.
fn what_thousands_cost() -> Outcome {
    const STOPS: usize = 5000;
    if std::env::var_os("ASHORE_MEASURE").is_none() {
        return Err(Skip("a measurement, made with ASHORE_MEASURE=1".into()));
    }
    let stops = stops::many(STOPS);
    let began = Instant::now();
    let html = ashore_report::html::page(&stops, TITLE);
    eprintln!("written in {} ms: {} bytes, {} a stop", began.elapsed().as_millis(), html.len(), html.len() / STOPS);
    browser::possible()?;
    let (mut loads, mut first, mut later, mut sorts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let page = Page::open(&html);
        page.drawn();
        let load = page.eval(
            "[performance.getEntriesByName('first-contentful-paint')[0].startTime, performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd]",
        );
        loads.push((load[0].as_f64().unwrap(), load[1].as_f64().unwrap()));
        // From the key, or the click, until what came of it has been drawn.
        page.eval(
            "window.took = []; for (const kind of ['keydown', 'click']) addEventListener(kind, event => requestAnimationFrame(() => \
             requestAnimationFrame(() => took.push(performance.now() - event.timeStamp))), true)",
        );
        page.eval("document.querySelectorAll('#stops > thead button')[0].click()");
        page.drawn();
        page.eval("document.querySelector('[name=text]').focus()");
        "00042".chars().for_each(|digit| page.press(&digit.to_string()));
        let took: Vec<f64> = serde_json::from_value(page.eval("took")).unwrap();
        let [sort, one, others @ ..] = took.as_slice() else { panic!("{took:?}") };
        first.push(*one);
        later.extend_from_slice(others);
        sorts.push(*sort);
    }
    let middle = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        format!("{:.0} ms (most {:.0})", all[all.len() / 2], all[all.len() - 1])
    };
    eprintln!("first paint: {}", middle(loads.iter().map(|(paint, _)| *paint).collect()));
    eprintln!("ready to sort and filter: {}", middle(loads.iter().map(|(_, ready)| *ready).collect()));
    eprintln!("first key of the filter, drawn: {}; those after it: {}; a sort: {}", middle(first), middle(later), middle(sorts));
    Ok(())
}
