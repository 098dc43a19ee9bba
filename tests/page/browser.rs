//! Debian's Chromium, driven through its DevTools protocol over a pipe (`--remote-debugging-pipe`: messages of JSON, each ended by a zero
//! byte; <https://chromedevtools.github.io/devtools-protocol/>).

use ashore_tests::server::die_with_the_test;
use ashore_tests::{Folder, Skip, paths};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long an answer may take: the largest page on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What it is started with: nothing of its own goes out, and it asks nobody anything.
const FLAGS: [&str; 12] = [
    "--headless",
    // Only our own page is opened, and containers seldom allow the namespaces that its sandbox takes.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-pings",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--window-size=1280,900",
    "--remote-debugging-pipe",
];

/// A browser with one page open; it ends when this is dropped.
pub(crate) struct Page {
    child: Child,
    input: RefCell<ChildStdin>,
    messages: Receiver<Value>,
    /// What came that nobody has waited for.
    events: RefCell<Vec<Value>>,
    last: Cell<u64>,
    session: String,
    /// Whether its scripts may run.
    scripts: bool,
    url: String,
    folder: Folder,
}

/// Whether there is one.
pub(crate) fn possible() -> Result<(), Skip> {
    paths::need("chromium", "chromium").map(drop)
}

impl Page {
    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(html: &str) -> Self {
        Self::open_with(html, true)
    }

    /// The same in a browser that runs no scripts of a page.
    pub(crate) fn open_without_scripts(html: &str) -> Self {
        Self::open_with(html, false)
    }

    fn open_with(html: &str, scripts: bool) -> Self {
        let folder = Folder::new();
        let file = folder.path().join("page.html");
        std::fs::write(&file, html).unwrap();
        let mut page = Self::start(folder, format!("file://{}", file.display()));
        let target = page.call("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = page.call("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        page.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            page.call(&format!("{domain}.enable"), &json!({}));
        }
        page.call("Emulation.setScriptExecutionDisabled", &json!({"value": !scripts}));
        page.scripts = scripts;
        page.call("Page.navigate", &json!({"url": page.url}));
        page.wait_for("Page.loadEventFired");
        page
    }

    fn start(folder: Folder, url: String) -> Self {
        let program = paths::find("chromium").unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        // Its descriptors 3 and 4 are our pipes.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >&2"]).arg(program).args(FLAGS);
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display())).arg("about:blank").env("HOME", folder.path());
        let mut child = die_with_the_test(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let input = RefCell::new(child.stdin.take().unwrap());
        let output = child.stdout.take().unwrap();
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { break };
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let (events, last, session) = (RefCell::default(), Cell::new(0), String::new());
        Self { child, input, messages, events, last, session, scripts: true, url, folder }
    }

    /// Its files are here while it is open.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Calls a method and returns its result.
    pub(crate) fn call(&self, method: &str, parameters: &Value) -> Value {
        self.last.set(self.last.get() + 1);
        let mut message = json!({"id": self.last.get(), "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.input.borrow_mut().write_all(&bytes).unwrap();
        loop {
            let message = self.next(method);
            if message["id"] == self.last.get() {
                assert!(message.get("error").is_none(), "{method} {parameters}: {message}");
                return message["result"].clone();
            }
            self.events.borrow_mut().push(message);
        }
    }

    fn wait_for(&self, event: &str) {
        while !self.events.borrow().iter().any(|message| message["method"] == event) {
            let message = self.next(event);
            self.events.borrow_mut().push(message);
        }
    }

    fn next(&self, what: &str) -> Value {
        self.messages.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            panic!("{what}: no answer of chromium: {error}\n{log}")
        })
    }

    /// The value of a JavaScript expression, awaited if it is a promise.
    pub(crate) fn eval(&self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", &parameters);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// The strings of a JavaScript array.
    pub(crate) fn strings(&self, expression: &str) -> Vec<String> {
        serde_json::from_value(self.eval(expression)).unwrap()
    }

    /// Waits until what was asked of the page has been drawn: its own script does some of its work then.
    pub(crate) fn drawn(&self) {
        if !self.scripts {
            return;
        }
        self.eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))");
    }

    /// Clicks into the middle of the element that an expression gives.
    pub(crate) fn click(&self, element: &str) {
        let middle = self.eval(&format!(
            "(element => {{ element.scrollIntoView({{block: 'center'}}); const box = element.getBoundingClientRect(); \
             return [box.x + Math.min(box.width / 2, 20), box.y + box.height / 2]; }})({element})"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &event);
        }
        self.drawn();
    }

    /// Presses a key: `Tab`, `Enter`, ` `, `ArrowDown` or a digit.
    pub(crate) fn press(&self, key: &str) {
        let (code, number, text) = match key {
            "Tab" => ("Tab".to_owned(), 9, ""),
            "Enter" => ("Enter".to_owned(), 13, "\r"),
            " " => ("Space".to_owned(), 32, " "),
            "ArrowDown" => ("ArrowDown".to_owned(), 40, ""),
            digit if matches!(digit.as_bytes(), [b'0'..=b'9']) => (format!("Digit{digit}"), digit.as_bytes()[0], digit),
            other => panic!("{other}: which key is that?"),
        };
        let kind = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        let mut event = json!({"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number});
        if !text.is_empty() {
            event["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", &event);
        event["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", &event);
        self.drawn();
    }

    /// Types a text into what has the focus.
    pub(crate) fn write(&self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
        self.drawn();
    }

    /// What a medium and a color scheme make of it, for somebody who wants no motion.
    pub(crate) fn emulate(&self, media: &str, scheme: &str) {
        let feature = |name: &str, value: &str| json!({"name": name, "value": value});
        let features = [feature("prefers-color-scheme", scheme), feature("prefers-reduced-motion", "reduce")];
        self.call("Emulation.setEmulatedMedia", &json!({"media": media, "features": features}));
        self.drawn();
    }

    /// Makes the window as wide as this, in CSS pixels.
    pub(crate) fn resize(&self, width: u32) {
        self.call("Emulation.setDeviceMetricsOverride", &json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}));
        self.drawn();
    }

    /// What was asked of a network or a file, except for the page itself and data that stands in it.
    pub(crate) fn requests(&self) -> Vec<String> {
        let events = self.events.borrow();
        let urls =
            events.iter().filter(|event| event["method"] == "Network.requestWillBeSent").map(|event| &event["params"]["request"]["url"]);
        let urls = urls.map(|url| url.as_str().unwrap_or_default().to_owned());
        urls.filter(|url| *url != self.url && !url.starts_with("data:")).collect()
    }

    /// What was said in the console: errors, warnings, exceptions.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let said = ["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"];
        let events = self.events.borrow();
        events.iter().filter(|event| said.iter().any(|method| event["method"] == *method)).map(Value::to_string).collect()
    }

    /// What assistive technology is told: role and name of each node, in the order of the page.
    pub(crate) fn nodes(&self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", &json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == false);
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        nodes.map(|node| (text(&node["role"]), text(&node["name"]))).collect()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // It ends its own processes when it is told to; the rest of it is gone with the pipe.
        self.session.clear();
        let message = b"{\"id\":0,\"method\":\"Browser.close\"}\0";
        if self.input.borrow_mut().write_all(message).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
