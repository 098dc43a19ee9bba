//! How well-known programs take TERM as PID 1. Which other signal they stop gracefully on is in the table of profiles.

/// What a program does with TERM, alone or as PID 1, where the kernel drops what is not handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It handles it, and its own children with it.
    Handles,
    /// It handles it, and may leave others behind: daemons, sessions, jobs.
    LeavesOthers,
    /// It does not.
    Ignores,
    /// It does not of itself; the code that it runs may.
    IgnoresUnlessHandled,
    /// It takes it, and does not hand it on to its child.
    Swallows,
    /// Nothing is known of it.
    Unknown,
}

/// Programs that run what they are told to: the name of that is more telling.
pub(crate) const INTERPRETERS: [&str; 4] = ["python", "node", "ruby", "perl"];

const HANDLES: [&str; 44] = [
    "java",
    "ruby",
    "dotnet",
    "nginx",
    "openresty",
    "httpd",
    "apache2",
    "httpd-foreground",
    "apache2-foreground",
    "php-fpm",
    "postgres",
    "mysqld",
    "mariadbd",
    "redis-server",
    "redis-sentinel",
    "valkey-server",
    "mongod",
    "mongos",
    "memcached",
    "haproxy",
    "envoy",
    "traefik",
    "caddy",
    "etcd",
    "prometheus",
    "alertmanager",
    "grafana",
    "grafana-server",
    "vault",
    "consul",
    "minio",
    "coredns",
    "node_exporter",
    "celery",
    "gunicorn",
    "uwsgi",
    "unicorn",
    "puma",
    "uvicorn",
    "hypercorn",
    "daphne",
    "kube-proxy",
    "kubelet",
    "beam.smp",
];
const LEAVES_OTHERS: [&str; 12] =
    ["supervisord", "circusd", "sshd", "cron", "crond", "runsvdir", "s6-svscan", "monit", "pm2-runtime", "honcho", "foreman", "xinetd"];
const IGNORES: [&str; 16] = [
    "sleep",
    "tail",
    "cat",
    "nc",
    "ncat",
    "watch",
    "yes",
    "inotifywait",
    "sh",
    "bash",
    "dash",
    "ash",
    "http.server",
    "tee",
    "ping",
    "less",
];
const CODE_DECIDES: [&str; 8] = ["python", "node", "php", "perl", "deno", "bun", "lua", "flask"];
const SWALLOWS: [&str; 2] = ["npm", "npx"];

/// A program's name without a version (`python3.12`, `php-fpm8.3`) or an extension (`server.py`).
pub(crate) fn plain(name: &str) -> &str {
    let name = name.strip_suffix(".py").or_else(|| name.strip_suffix(".js")).or_else(|| name.strip_suffix(".pl")).unwrap_or(name);
    match name {
        "nodejs" => "node",
        "s6-svscan" | "apache2" | "apache2-foreground" => name,
        _ => name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'),
    }
}

/// What this program does with TERM.
pub(crate) fn manner(name: &str) -> Manner {
    let name = plain(name);
    let among = |list: &[&str]| list.contains(&name);
    if among(&HANDLES) {
        Manner::Handles
    } else if among(&LEAVES_OTHERS) {
        Manner::LeavesOthers
    } else if among(&IGNORES) {
        Manner::Ignores
    } else if among(&CODE_DECIDES) {
        Manner::IgnoresUnlessHandled
    } else if among(&SWALLOWS) {
        Manner::Swallows
    } else {
        Manner::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_their_many_names() {
        for (name, expected) in [
            ("python3.12", Manner::IgnoresUnlessHandled),
            ("nodejs", Manner::IgnoresUnlessHandled),
            ("php8.3", Manner::IgnoresUnlessHandled),
            ("php-fpm8.3", Manner::Handles),
            ("java", Manner::Handles),
            ("apache2", Manner::Handles),
            ("s6-svscan", Manner::LeavesOthers),
            ("npm", Manner::Swallows),
            ("sleep", Manner::Ignores),
            ("controller", Manner::Unknown),
        ] {
            assert_eq!(manner(name), expected, "{name}");
        }
    }
}
