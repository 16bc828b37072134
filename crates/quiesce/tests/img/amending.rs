//! Changing images that are there, as both tools do it: options, lengths,
//! snapshots; and making them. Every step is answered alike, QEMU's tool finds
//! nothing wrong with what is left behind, and it reads the same from it.

use std::path::Path;
use std::process::Command;

use crate::both::{Place, ours, theirs, timeless};

/// Does each step of each sequence with both; steps are set apart by `;`. One
/// that begins with `io` is a list of commands, set apart by `,`, for QEMU's
/// `qemu-io` in both places. Afterwards the image called `q` is checked and
/// read by QEMU.
fn compare(sequences: &[&str]) {
    let Some(theirs) = theirs() else {
        return;
    };
    for sequence in sequences {
        let (mine, other) = (Place::new(ours()), Place::new(&theirs));
        for step in sequence.split(';') {
            let words: Vec<&str> = step.split_whitespace().collect();
            if let ["io", name, ..] = words[..] {
                let commands = words[2..].join(" ");
                for place in [&mine, &other] {
                    io(place, &theirs, name, &commands);
                }
                continue;
            }
            let (found, expected) = (mine.run(&words), other.run(&words));
            let at = format!("{step:?} of {sequence:?}");
            let said = |bytes: &[u8]| undated(&timeless(bytes));
            assert_eq!(said(&found.stderr), said(&expected.stderr), "{at}");
            assert_eq!(said(&found.stdout), said(&expected.stdout), "{at}");
            assert_eq!(found.status.code(), expected.status.code(), "{at}");
        }
        if !mine.path("q").exists() {
            continue;
        }
        let check = mine.run_by(&theirs, &["check", "q"]);
        assert!(check.status.success(), "{check:?} after {sequence:?}");
        for shown in ["", "snapshot.id=1", "snapshot.id=2", "snapshot.id=3"] {
            let (found, expected) = (
                content(&mine, &theirs, shown),
                content(&other, &theirs, shown),
            );
            assert!(
                found == expected,
                "what is read of {shown:?} differs after {sequence:?}"
            );
        }
    }
}

fn io(place: &Place, theirs: &Path, name: &str, commands: &str) {
    let mut line = Command::new(theirs.with_file_name("qemu-io"));
    for command in commands.split(',') {
        line.args(["-c", command]);
    }
    // Images name others without a directory.
    line.current_dir(place.path(""));
    let output = line.args(["-f", "qcow2", name]).output();
    let output = output.expect("it starts");
    // Whoever is to leave its bitmaps in use ends in the middle.
    let aborts = commands.ends_with("abort");
    assert_eq!(output.status.success(), !aborts, "{output:?}");
}

/// What QEMU reads in `q`, or in a snapshot of it if there is such.
fn content(place: &Place, theirs: &Path, shown: &str) -> Option<Vec<u8>> {
    let mut line = vec!["convert", "-O", "raw"];
    if !shown.is_empty() {
        line.extend(["-l", shown]);
    }
    line.extend(["q", "content"]);
    let converted = place.run_by(theirs, &line);
    let read = || std::fs::read(place.path("content")).expect("converted");
    converted.status.success().then(read)
}

/// Without the times at which snapshots were made.
fn undated(text: &str) -> String {
    let form = "dddd-dd-dd dd:dd:dd";
    let is_time = |at: usize| {
        let found = text.as_bytes().get(at..at + form.len());
        let fits = |(byte, form): (&u8, u8)| match form {
            b'd' => byte.is_ascii_digit(),
            other => *byte == other,
        };
        found.is_some_and(|found| found.iter().zip(form.bytes()).all(fits))
    };
    let mut kept = text.to_owned();
    for at in (0..text.len()).filter(|at| is_time(*at)) {
        kept.replace_range(at..at + form.len(), form);
    }
    kept
}

#[test]
fn amendments_are_alike() {
    compare(AMENDED);
}

const AMENDED: &[&str] = &[
    "create -q -f qcow2 q 4M; amend -o compat=0.42 q; amend -o foo=1 q; amend q; \
     amend -o size=1M q q; amend -o size=1M",
    "create -q -f qcow2 q 4M; amend -o cluster_size=32k q; amend -o encryption=on q; \
     amend -o preallocation=on q; amend -o extended_l2=on q; \
     amend -o compression_type=zstd q; amend -o encrypt.format=luks q",
    "create -q -f qcow2 q 4M; amend -o encrypt.new-secret=x,encrypt.state=active q; \
     amend -o encrypt.state=foo q; amend -o help q",
    "create -q -f qcow2 q 4M; amend -o refcount_bits=3 q; \
     amend -o refcount_bits=0 q; amend -o refcount_bits=128 q; \
     amend -o refcount_bits=-1 q; amend -o refcount_bits=x q",
    "create -q -f qcow2 -o cluster_size=4k q 4M; io q write -P 5 0 1M,write -P 6 3M 64k; \
     amend -o refcount_bits=64 q; amend -o compat=0.10 q; \
     amend -o compat=0.10,refcount_bits=8 q; \
     amend -o compat=0.10,refcount_bits=16 q; amend -o refcount_bits=8 q",
    "create -q -f qcow2 -o cluster_size=4k q 4M; io q write -P 1 0 1M,write -z 0 128k; \
     snapshot -c s1 q; snapshot -c s2 q; amend -o refcount_bits=1 q; \
     amend -o refcount_bits=2 q; io q write -P 3 64k 1M; \
     amend -o compat=0.10,refcount_bits=16 q",
    "create -q -f qcow2 -o cluster_size=512 q 64k; io q write -P 9 0 29696; \
     amend -o refcount_bits=64 q; amend -o refcount_bits=1 q; amend -o size=16M q; \
     io q write -P 3 0 16M; amend -o refcount_bits=32 q",
    "create -q -f qcow2 -o compat=0.10 q 4M; amend -o lazy_refcounts=on q; \
     amend -o compat=1.1,lazy_refcounts=on q; amend -o compat=0.10 q; \
     amend -o compat=0.10,lazy_refcounts=on q; amend -o lazy_refcounts=x q; \
     amend -o lazy_refcounts=off q",
    "create -q -f qcow2 q 4M; amend -o data_file=x q; amend -o data_file_raw=on q; \
     amend -o data_file_raw=off q",
    "create -q -f qcow2 q 4M; amend -o backing_file=b q; \
     amend -o backing_file=b,backing_fmt=raw q; amend -o backing_fmt=raw q; \
     amend -o backing_file= q; amend -o backing_file=b,refcount_bits=3 q; \
     amend -o backing_file=b,compat=0.10,refcount_bits=8 q",
    "create -q -f qcow2 -b b -F raw q 4M; amend -o backing_file=b q; \
     amend -o backing_file=b,backing_fmt=raw q; \
     amend -o backing_file=b,backing_fmt=qcow2 q",
    "create -q -f qcow2 q 4M; amend -o size=1000 q; amend -o size=2M q; \
     amend -o size=8M q; amend -o size=0 q; amend -o size=-1 q; amend -o size=8E q; \
     amend -o size=1E q; amend -o size=3M,size=5M q",
    "create -q -f qcow2 -o data_file=d,cluster_size=4k q 1M; io q write -P 3 0 1M; \
     amend -o compat=0.10 q; amend -o refcount_bits=64 q; amend -o data_file_raw=on q",
    "create -q -f qcow2 -o data_file=d,data_file_raw=on q 1M; \
     amend -o data_file_raw=on q; amend -o data_file_raw=off q; \
     amend -o backing_file=q,backing_fmt=raw q",
    "create -q -f qcow2 -o extended_l2=on q 1M; amend -o compat=0.10 q",
    "create -q -f qcow2 -o compression_type=zstd q 1M; amend -o compat=0.10 q; \
     amend -o compat=1.1 q",
    "create -q -f qcow2 -o compression_type=zstd q 1M; io q write -c -P 3 0 64k; \
     amend -o compat=0.10 q",
    "create -q -f qcow2 -o compat=0.10 q 1M; snapshot -c s q; amend -o size=2M q; \
     amend -o compat=1.1,size=2M q; amend -o compat=0.10 q; \
     amend -o compat=0.10,size=1M q",
    "create -q -f qcow2 -b big -F raw q 3M; \
     io q write -P 9 1M 64k,write -z 64k 128k,write -z 512k 64k,discard 512k 64k,write -z 2M 64k; \
     snapshot -c a q; io q write -P 4 64k 64k,write -z 2560k 64k; \
     amend -o compat=0.10 q; amend -o compat=1.1 q; snapshot -a a q",
    "create -q -f qcow2 -o preallocation=metadata q 4M; io q write -z 0 4M; \
     amend -p -o compat=0.10 q; amend -p -o compat=1.1 q; amend -p -o size=5M q; \
     amend -q -o size=4M q",
];

#[test]
fn lengths_are_alike() {
    compare(RESIZED);
}

const RESIZED: &[&str] = &[
    "create -q -f qcow2 q 4M; bitmap --add q x; io q read 0 64k,abort; resize q 8M; \
     amend -o size=8M q; bitmap --remove q x; resize q 8M",
    "create -q -f qcow2 q 4M; bitmap --add q on; bitmap --add --disable q off; \
     resize q 8M; resize --shrink q 2M; measure -O qcow2 q",
    "create -q -f qcow2 q 1M; resize --preallocation=off q +1M; \
     resize --preallocation=metadata q +1M; resize --preallocation=falloc q +1M; \
     resize --preallocation=full q +1M; resize --preallocation=foo q 1M; \
     resize --preallocation=full q +0; resize --shrink --preallocation=full q 1M",
    "create -q -f qcow2 -o data_file=df q 1M; resize --preallocation=off q +1M; \
     resize --preallocation=metadata q +1M; map --output=json q; \
     resize --preallocation=falloc q +1M; resize --preallocation=full q +1M; \
     map --output=json q; resize --shrink q 1M; map --output=json q",
    "create -q -f qcow2 -o data_file=df,data_file_raw=on q 1M; map --output=json q; \
     resize --preallocation=off q +1M; map --output=json q; \
     resize --preallocation=metadata q +1M; resize --preallocation=full q +1M; \
     map --output=json q; resize --shrink q 1M; map --output=json q",
    "create -q -f qcow2 q 4M; resize q 1025; resize q 999999999T; resize q 9000000T; \
     resize q 1E; resize --shrink q 2k; resize --shrink q 0; resize q -3k; \
     resize q x; resize q; resize --shrink q -1k",
    "create -q -f qcow2 -b big -F raw q 1M; resize q 2M; map --output=json q",
    "create -q -f qcow2 -b big -F raw q 1M; resize --preallocation=metadata q 2M",
    "create -q -f qcow2 -b big -F raw q 1M; resize --preallocation=falloc q 2M",
    "create -q -f qcow2 -b big -F raw q 1M; resize --preallocation=full q 2M",
    "create -q -f qcow2 -o compat=0.10 -b big -F raw q 1M; resize q 2M; \
     resize --preallocation=metadata q 3M; resize q 4M; resize --shrink q 512k",
    "create -q -f qcow2 -b big -F raw q 1000k; resize q 2M; map --output=json q; \
     amend -o size=2500k q; map --output=json q",
    "create -q -f qcow2 q 1M; snapshot -c one q; resize -q q 2G; snapshot -c two q; \
     snapshot -a one q; snapshot -a two q; resize --shrink q 64k; snapshot -a two q; \
     io q write -P 3 1G 1M; snapshot -c three q; snapshot -a one q",
];

#[test]
fn snapshots_are_alike() {
    compare(KEPT);
}

const KEPT: &[&str] = &[
    "create -q -f qcow2 q 4M; snapshot -c a q; snapshot -c b q; snapshot -c 3 q; \
     snapshot -c a q; snapshot -l q; snapshot -d a q; snapshot -l q; \
     snapshot -a 3 q; snapshot -a nothere q; snapshot -d nothere q; snapshot -d 2 q; \
     snapshot -a 3 -c x q; snapshot q; snapshot -l -l q; snapshot -U -l q; \
     snapshot -U -c x q; snapshot -q -c quiet q; snapshot -l -q q",
    "snapshot -l -f raw a; snapshot -c x -f raw a; snapshot -a x -f raw a; \
     snapshot -d x -f raw a; snapshot -l a",
    "create -q -f qcow2 -o data_file=dd q 1M; snapshot -c x q; snapshot -a x q; \
     snapshot -d x q",
    "create -q -f qcow2 -o refcount_bits=1 q 64M; io q write 0 512; \
     snapshot -c foo q; snapshot -l q",
    "create -q -f qcow2 -o refcount_bits=2 q 64M; io q write 0 512; \
     snapshot -c foo q; snapshot -c bar q; snapshot -c baz q; snapshot -d foo q; \
     snapshot -c baz q",
    "create -q -f qcow2 q 4M; io q write -P 9 0 1M; snapshot -c a q; \
     io q write -z 0 1M; snapshot -c b q; io q write -P 1 0 64k; snapshot -a a q; \
     snapshot -d b q; snapshot -d a q",
];

#[test]
fn what_is_made_and_measured_is_alike() {
    compare(MADE);
}

const MADE: &[&str] = &[
    "create -f qcow2 -o encryption=off q 1M; info q; create -f qcow2 -o encryption=on x 1M; \
     create -f qcow2 -o encrypt.format=luks x 1M; create -f qcow2 -o encrypt.cipher-alg=x x 1M; \
     create -f qcow2 -o encrypt.format=foo x 1M; \
     create -f qcow2 -o encryption=on,encrypt.format=luks x 1M",
    "create -f qcow2 q 1T; info q; create -f qcow2 -o cluster_size=512 q 64M; info q; \
     create -f qcow2 -o cluster_size=2M q 64M; info q; create -f qcow2 q 0; info q; \
     \
     create -f qcow2 -o preallocation=metadata q 4M; info q",
    "create -f raw -o size=-1k r; create -f raw -o size=-1 r; create -f raw -o size=+1k r; \
     info r; create -f raw -o size=0x10k r; create -f raw -o size=-1.5k r; create -f raw -o size= r",
    "create -f qcow2 -F qcow2 q 1M; create -f qcow2 -o backing_fmt=qcow2 q 1M",
    "create -f qcow2 -b a x 1M; create -f qcow2 -b a x; \
     create -f qcow2 -o backing_file=a x; create -f raw -b a -F raw x 1M; \
     create -f qcow2 -b a -F foo x 1M; create -f qcow2 -b nonex -F qcow2 x; \
     create -f qcow2 -u -b nonex -F qcow2 x 1M; create -f qcow2 -u -b nonex x 1M; \
     create -f qcow2 -u -b nonex -F qcow2 x; create -f qcow2 x; \
     create -f qcow2 -b x -F qcow2 x 1M; \
     create -f qcow2 -b a -F raw -o backing_file=a y 1M",
    "create -f qcow2 x 1000; create -f qcow2 x 0; create -f qcow2 x 9E; \
     create -f qcow2 x 1E; create -f raw r 1000; info r; create -f raw r 1025; \
     info r; create -f raw r 1",
    "info -f raw odd; convert -f raw -O raw odd o2; convert -f raw -O qcow2 odd q; \
     compare -f raw -F qcow2 odd q; map -f raw --output=json odd; \
     measure -f raw -O qcow2 odd; dd -f raw -O raw if=odd of=o5; info o5; \
     resize -f raw odd 2000; info odd; resize --shrink -f raw odd 700; info odd; \
     create -f qcow2 -b odd -F raw ov; convert ov ov.raw; info ov.raw",
    "create -f qcow2 -o help; create -f raw -o help; create -o help; \
     create -f qcow2 -o help q; convert -O qcow2 -o help a b; amend -f qcow2 -o help",
    "create -q -f qcow2 q 4M; io q write -P 7 0 4M; measure -O qcow2 q; \
     bitmap --add q b1; measure -O qcow2 q; measure -O qcow2 -o compat=0.10 q; \
     bitmap --add -g 512 q b2; measure -O qcow2 q; \
     measure -O qcow2 -o cluster_size=512 q; measure -O raw q; \
     measure --output=json -O qcow2 q; measure -O qcow2 -o preallocation=full q; \
     measure -O qcow2 -o extended_l2=on,cluster_size=16k q",
    "measure -O qcow2 --size 4M; measure -O qcow2 -o size=2M --size 4M; \
     measure -O qcow2 -o backing_file=foo --size 4M; \
     measure -O qcow2 -o data_file=x --size 4M; \
     measure -O qcow2 -o data_file=x,data_file_raw=on --size 4M; \
     measure -O qcow2 -o cluster_size=3 --size 1M; \
     measure -O qcow2 -o refcount_bits=64,cluster_size=512 --size 1G; \
     measure -O qcow2 --size 7E",
    "create -q -f qcow2 -o compat=0.10 q 1M; bitmap --add q b; bitmap --remove q b",
];
