//! The wrapped program gets the very words that it got without the init, once the kubelet and the runtime have had their say.

// Each test program uses a part of it.
#[allow(dead_code)]
mod support;

use ashore_init::settings::{Command, parse};
use ashore_inject::{ImageConfig, Policy, StaticImages};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{applied, effective_argv, real_images, try_plan, wrapped};

/// Checks one container: the words before and after, the init's own command line, and what the plan says of both.
fn unchanged(container: &Value, image: &ImageConfig, images: &StaticImages) {
    let pod = json!({"spec": {"containers": [container], "futureField": {"x": null}}});
    let plan = try_plan(&pod, &Policy::default(), images).expect("planned");
    let before = effective_argv(container, image);
    let flags = &wrapped(&plan, "app").flags;
    let after = effective_argv(&applied(&pod, &plan)["spec"]["containers"][0], image);
    let (init, program) = after.split_at(flags.len() + 2);
    assert_eq!(program, before, "{container}");
    assert_eq!(init[0], "/ashore/ashore-init");
    assert_eq!(&init[1..init.len() - 1], flags, "what the plan says is what the init gets");
    let words: Vec<&[u8]> = after[1..].iter().map(String::as_bytes).collect();
    assert!(matches!(parse(&words), Ok(Command::Run(_, at)) if at == flags.len() + 1), "the init takes its command line: {after:?}");
}

const HOSTILE: [&str; 10] =
    ["$(HOME)", "$$(HOME)", "$$", "", "--", "a\n\tb\r\n", "日本 é", "$(NOPE)", "--grace=1s", "set -e\ntrap 'exit $?' TERM\n$(HOME)/x $!\n"];

#[test]
fn for_every_real_image_and_every_form_of_command() {
    let images = real_images();
    assert!(images.iter().count() > 50);
    let env = json!([{"name": "HOME", "value": "/root $(HOME)"}]);
    for (name, image) in images.iter() {
        let plain = json!({"name": "app", "image": name, "env": env});
        unchanged(&plain, image, &images);
        for (command, args) in [
            (json!(null), json!(HOSTILE)),
            (json!([]), json!(["serve", ""])),
            (json!(["/run", "$(HOME)", "", "$$x"]), json!([])),
            (json!(["/run", "$(HOME)", "", "$$x"]), json!(HOSTILE)),
        ] {
            let mut container = plain.clone();
            container["command"] = command;
            container["args"] = args;
            unchanged(&container, image, &images);
        }
    }
}

#[test]
fn every_real_images_own_stop_signal_counts_as_one() {
    let images = real_images();
    let mut told = 0;
    for (name, image) in images.iter() {
        let pod = json!({"spec": {"containers": [{"name": "app", "image": name}]}});
        let plan = try_plan(&pod, &Policy::default(), &images).expect("planned");
        let wrapped = wrapped(&plan, "app");
        let words: Vec<&[u8]> = wrapped.flags.iter().map(String::as_bytes).chain([&b"app"[..]]).collect();
        let Ok(Command::Run(settings, _)) = parse(&words) else { panic!("{:?}", wrapped.flags) };
        assert!(settings.stop_signals.has(wrapped.stop_signal), "{name}");
        let stated = image.stop_signal.as_deref().unwrap_or("TERM").trim_start_matches("SIG");
        assert_eq!(wrapped.stop_signal.to_string(), stated, "{name}");
        told += usize::from(wrapped.flags.iter().any(|flag| flag.starts_with("--stop-signal=")));
    }
    assert!(told > 3, "some images stop with QUIT, WINCH or USR1");
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![proptest::sample::select(HOSTILE.to_vec()).prop_map(str::to_owned), "[$()A-Z \\n]{0,12}", "\\PC{0,8}"]
}

fn list() -> impl Strategy<Value = Option<Vec<String>>> {
    prop_oneof![Just(None), vec(word(), 0..4).prop_map(Some)]
}

proptest! {
    #[test]
    fn for_hostile_words_in_every_place(command in list(), args in list(), entrypoint in list(), cmd in list(), path in "/[a-z$()]{1,8}") {
        let image = ImageConfig { entrypoint, cmd, ..ImageConfig::default() };
        let container = json!({"name": "app", "image": "x", "command": command, "args": args, "terminationMessagePath": path,
            "env": [{"name": "HOME", "value": "$(HOME)"}, {"name": "A", "value": ""}]});
        // Words that start nothing are left alone, with or without an init.
        let starts = [&command, &args, &image.entrypoint, &image.cmd].into_iter().flatten().all(|words| words.first().is_none_or(|w| !w.is_empty()));
        prop_assume!(starts && !effective_argv(&container, &image).is_empty());
        unchanged(&container, &image, &StaticImages::from_iter([("x".to_owned(), image.clone())]));
    }
}
