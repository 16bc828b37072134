//! Objects beside the graph that nodes refer to.

use std::collections::HashSet;

use block_common::GraphError;
use block_drivers::{Limit, ThrottleConfig, ThrottleError, ThrottleGroup};
use block_gs::BqlGuard;

use crate::{OpenError, Options, values};

mod secret;

/// Makes the object that `options` describe (`object-add`): its type is
/// `qom-type`, its name `id`. A `throttle-group` has limits as
/// `limits.bps-total` and so on, or `x-bps-total` as on QEMU's command line. A
/// `secret` is checked, and only its name is kept: nothing here decrypts images.
///
/// # Errors
/// [`OpenError`]; no object is made then.
pub fn add_object(bql: &mut BqlGuard, mut options: Options) -> Result<(), OpenError> {
    let required = |value: Option<String>, key: &str| {
        value.ok_or_else(|| OpenError::Value(format!("Parameter '{key}' is missing")))
    };
    let kind = required(values::text(&mut options, "qom-type")?, "qom-type")?;
    if !KINDS.contains(&&*kind) && !ELSEWHERE.contains(&&*kind) {
        return Err(OpenError::Value(format!(
            "Parameter 'qom-type' does not accept value '{kind}'"
        )));
    }
    let id = required(values::text(&mut options, "id")?, "id")?;
    if !KINDS.contains(&&*kind) {
        let message = format!("invalid object type: {kind}");
        return Err(OpenError::Value(message));
    }
    let is_taken = match bql.extension::<Secrets>() {
        Some(Secrets(names)) if names.contains(&id) => true,
        _ => kind == SECRET && ThrottleGroup::find(bql, &id).is_ok(),
    };
    if is_taken {
        return Err(GraphError::from(ThrottleError::DuplicateGroup(id)).into());
    }
    if kind == SECRET {
        secret::check(options, &id)?;
        let Secrets(names) = bql.extension_mut();
        names.insert(id);
        return Ok(());
    }
    let config = limits(&mut options)?;
    refuse_rest(&options)?;
    let group = ThrottleGroup::new(&id, config).map_err(GraphError::from)?;
    group.register(bql).map_err(GraphError::from)?;
    Ok(())
}

const SECRET: &str = "secret";

/// The names of the secrets that there are.
#[derive(Default)]
struct Secrets(HashSet<String>);

/// What there is here.
const KINDS: [&str; 2] = ["throttle-group", SECRET];

/// What QEMU's schema has too, for programs that have more than images.
const ELSEWHERE: [&str; 44] = [
    "authz-list",
    "authz-listfile",
    "authz-pam",
    "authz-simple",
    "can-bus",
    "can-host-socketcan",
    "colo-compare",
    "cryptodev-backend",
    "cryptodev-backend-builtin",
    "cryptodev-backend-lkcf",
    "cryptodev-vhost-user",
    "dbus-vmstate",
    "filter-buffer",
    "filter-dump",
    "filter-mirror",
    "filter-redirector",
    "filter-replay",
    "filter-rewriter",
    "input-barrier",
    "input-linux",
    "iommufd",
    "iothread",
    "main-loop",
    "memory-backend-epc",
    "memory-backend-file",
    "memory-backend-memfd",
    "memory-backend-ram",
    "memory-backend-shm",
    "pef-guest",
    "pr-manager-helper",
    "qtest",
    "rng-builtin",
    "rng-egd",
    "rng-random",
    "s390-pv-guest",
    "secret_keyring",
    "sev-guest",
    "sev-snp-guest",
    "thread-context",
    "tls-creds-anon",
    "tls-creds-psk",
    "tls-creds-x509",
    "tls-cipher-suites",
    "x-remote-object",
];

fn refuse_rest(options: &Options) -> Result<(), OpenError> {
    match options.iter().next() {
        None => Ok(()),
        Some((key, _)) => Err(OpenError::Value(format!("Parameter '{key}' is unexpected"))),
    }
}

fn limits(options: &mut Options) -> Result<ThrottleConfig, OpenError> {
    let mut config = ThrottleConfig::default();
    let rates: [(&str, &mut Limit); 6] = [
        ("bps-total", &mut config.bps_total),
        ("bps-read", &mut config.bps_read),
        ("bps-write", &mut config.bps_write),
        ("iops-total", &mut config.iops_total),
        ("iops-read", &mut config.iops_read),
        ("iops-write", &mut config.iops_write),
    ];
    for (name, limit) in rates {
        limit.avg = rate(options, name)?.unwrap_or(0);
        limit.max = rate(options, &format!("{name}-max"))?.unwrap_or(0);
        if let Some(seconds) = rate(options, &format!("{name}-max-length"))? {
            limit.burst_length = u32::try_from(seconds).unwrap_or(u32::MAX);
        }
    }
    config.iops_size = rate(options, "iops-size")?.unwrap_or(0);
    Ok(config)
}

fn rate(options: &mut Options, name: &str) -> Result<Option<u64>, OpenError> {
    let mut one = |key: String| {
        values::size(options, &key).map_err(|error| {
            let is_negative = matches!(error, OpenError::Value(_)) && key.starts_with("x-");
            OpenError::Value(match is_negative {
                true => "Property values cannot be negative".to_owned(),
                false => format!("Parameter '{key}' expects integer"),
            })
        })
    };
    let structured = one(format!("limits.{name}"))?;
    let flat = one(format!("x-{name}"))?;
    Ok(structured.or(flat))
}

#[cfg(test)]
mod tests {
    use block_gs::BlockLayer;

    use super::*;

    fn in_layer(test: impl FnOnce(&mut BqlGuard)) {
        let layer = BlockLayer::new().expect("a block layer");
        layer.enter(test);
    }

    fn add(bql: &mut BqlGuard, options: &str) -> Result<(), String> {
        let options = Options::parse(options).expect("options");
        add_object(bql, options).map_err(|error| error.to_string())
    }

    #[test]
    fn a_group_has_the_limits_that_were_said() {
        in_layer(|bql| {
            let text = "qom-type=throttle-group,id=g,limits.iops-total=100,x-iops-total-max=200,\
                        x-iops-total-max-length=5,limits.iops-size=4k";
            add(bql, text).expect("added");
            let group = ThrottleGroup::find(bql, "g").expect("registered");
            let expected = ThrottleConfig {
                iops_total: Limit::average(100).burst(200, 5),
                iops_size: 4096,
                ..ThrottleConfig::default()
            };
            assert_eq!(group.config(), expected);
            let node = crate::open(
                bql,
                Options::parse("driver=throttle,throttle-group=g,file.driver=null-co")
                    .expect("options"),
            );
            assert!(node.is_ok(), "{node:?}");
        });
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        in_layer(|bql| {
            for (options, expected) in [
                ("id=g", "Parameter 'qom-type' is missing"),
                ("qom-type=throttle-group", "Parameter 'id' is missing"),
                (
                    "qom-type=rng,id=g",
                    "Parameter 'qom-type' does not accept value 'rng'",
                ),
                ("qom-type=iothread,id=g", "invalid object type: iothread"),
                (
                    "qom-type=throttle-group,id=g,x-bps-read=a",
                    "Parameter 'x-bps-read' expects integer",
                ),
                (
                    "qom-type=throttle-group,id=g,x-bps-read=-1",
                    "Property values cannot be negative",
                ),
                (
                    "qom-type=throttle-group,id=g,limits.bps=1",
                    "Parameter 'limits.bps' is unexpected",
                ),
                (
                    "qom-type=throttle-group,id=g,x-bps-total=1,x-bps-read=1",
                    "bps/iops/max total values and read/write values cannot be used at the same \
                     time",
                ),
            ] {
                assert_eq!(add(bql, options), Err(expected.to_owned()));
            }
            add(bql, "qom-type=secret,id=s,data=x").expect("added");
            add(bql, "qom-type=throttle-group,id=g").expect("added");
            for options in [
                "qom-type=secret,id=s,data=x",
                "qom-type=secret,id=g,data=x",
                "qom-type=throttle-group,id=s",
                "qom-type=throttle-group,id=g",
            ] {
                let refused = add(bql, options).expect_err("there is one");
                assert!(
                    refused.starts_with("attempt to add duplicate property"),
                    "{refused}"
                );
            }
            let missing = crate::open(
                bql,
                Options::parse("driver=throttle,throttle-group=none,file.driver=null-co")
                    .expect("options"),
            );
            let missing = missing.expect_err("no such group").to_string();
            assert_eq!(missing, "Throttle group 'none' does not exist");
        });
    }
}
