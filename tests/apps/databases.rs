//! Databases: what was written is there afterwards, and nothing has to be recovered.

use crate::support::{connect, stop, ways};
use ashore_tests::harness::is_root;
use ashore_tests::under::{SOON, under_init};
use ashore_tests::{Folder, Outcome, Sandbox, Skip, Stdin, paths};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Debian has PostgreSQL's programs in a folder for each version.
fn postgres_programs() -> Result<PathBuf, Skip> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").is_file()).max();
    newest.ok_or_else(|| Skip("initdb is not installed: apt-get install postgresql".into()))
}

/// PostgreSQL refuses to run as root.
fn not_as_root(sandbox: Sandbox) -> Sandbox {
    if is_root() { sandbox.user(65534, 65534) } else { sandbox }
}

pub(crate) fn postgres_shuts_down_cleanly() -> Outcome {
    let bin = postgres_programs()?;
    let folder = Folder::new();
    let data = folder.path().join("data");
    let words = [
        bin.join("initdb").as_os_str(),
        "--no-sync".as_ref(),
        "--auth=trust".as_ref(),
        "--username=me".as_ref(),
        "-D".as_ref(),
        data.as_os_str(),
    ]
    .map(OsStr::to_owned);
    let made = not_as_root(Sandbox::new(words)).env("LC_ALL", "C").cwd(folder.path()).spawn().unwrap();
    assert_eq!(made.wait(std::time::Duration::from_secs(120)).unwrap().code(), Some(0), "{}", made.output());
    let [(own, int), (known, term)] = ways("postgres", "INT", libc::SIGINT);
    let start = |flags: &str| {
        let settings = ["-c", "listen_addresses=", "-c", "log_checkpoints=on", "-k"];
        let command = [bin.join("postgres").into_os_string(), "-D".into(), data.clone().into_os_string()];
        let sandbox = under_init(flags, command).args(settings).args([folder.path()]);
        let run = not_as_root(sandbox).env("LC_ALL", "C").cwd(folder.path()).spawn().unwrap();
        run.line("database system is ready to accept connections");
        run
    };
    let psql_words = |options: &[&str]| -> Vec<OsString> {
        let folder = folder.path().as_os_str().to_owned();
        let connection = [bin.join("psql").into_os_string(), "-h".into(), folder, "-U".into(), "me".into()];
        connection.into_iter().chain(options.iter().map(OsString::from)).chain(["postgres".into()]).collect()
    };
    let psql = |statement: &str| {
        let words = psql_words(&["-Atc", statement]);
        let run = not_as_root(Sandbox::new(words)).cwd(folder.path()).spawn().unwrap();
        assert_eq!(run.end().code(), Some(0), "{}", run.output());
        run.output()
    };
    let first = start(&known);
    psql("create table t as select 42 as answer");
    // A session that stays connected: a shutdown by TERM would wait for it for ever.
    let words = psql_words(&["-At"]);
    let session = not_as_root(Sandbox::new(words)).cwd(folder.path()).stdin(Stdin::Pipe).spawn().unwrap();
    session.write("begin; insert into t values (1); select 'connected';\n").unwrap();
    session.line("connected");
    assert_eq!(stop(&first, term, || {}).code(), Some(0), "{}", first.output());
    first.line("database system is shut down");
    let second = start(&own);
    assert!(second.said("database system was shut down at"), "{}", second.output());
    assert!(!second.said("not properly shut down") && !second.said("recovery"), "{}", second.output());
    assert_eq!(psql("select answer from t"), "42\n");
    assert_eq!(stop(&second, int, || {}).code(), Some(0), "{}", second.output());
    Ok(())
}

fn ask_redis(stream: &mut (impl Read + Write), command: &str, answer: &str) {
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), answer);
}

pub(crate) fn redis_saves() -> Outcome {
    let redis = paths::need("redis-server", "redis-server")?;
    let folder = Folder::new();
    let socket = folder.path().join("socket");
    let start = || {
        let words = [
            redis.as_os_str(),
            "--port".as_ref(),
            "0".as_ref(),
            "--unixsocket".as_ref(),
            socket.as_os_str(),
            "--dir".as_ref(),
            folder.path().as_os_str(),
        ];
        under_init("--grace 1h", words).args(["--save", "900 1"]).spawn().unwrap()
    };
    let run = start();
    ask_redis(&mut connect(&run, &socket), "SET answer 42", "+OK\r\n");
    assert!(!Path::new(&folder.path().join("dump.rdb")).exists());
    assert_eq!(stop(&run, libc::SIGTERM, || {}).code(), Some(0), "{}", run.output());
    assert!(folder.path().join("dump.rdb").exists(), "{}", run.output());
    let run = start();
    ask_redis(&mut connect(&run, &socket), "GET answer", "$2\r\n42\r\n");
    assert!(run.wait(SOON / 1000).is_err());
    Ok(())
}
