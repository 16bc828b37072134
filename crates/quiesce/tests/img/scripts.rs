//! Shell scripts that call both tools, as test suites do. Each is run twice,
//! with the tools here and with QEMU's, and must print the same: what the
//! commands say, in their order, and their exit codes.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::both::{ours, theirs, timeless};

/// Where a script runs.
struct Stage {
    images: TempDir,
    tools: TempDir,
}

impl Stage {
    fn new(image_tool: &Path) -> Stage {
        let stage = Stage {
            images: TempDir::new().expect("a directory"),
            tools: TempDir::new().expect("a directory"),
        };
        let io_tool = match image_tool
            .file_name()
            .is_some_and(|name| name == "qemu-img")
        {
            true => image_tool.with_file_name("qemu-io"),
            false => image_tool.to_owned(),
        };
        for (name, program) in [("qemu-img", image_tool), ("qemu-io", &*io_tool)] {
            symlink(program, stage.tools.path().join(name)).expect("linked");
        }
        stage
    }

    /// What the script prints. After each line comes its exit code.
    fn run(&self, script: &str) -> String {
        let mut lines = String::from("exec </dev/null\n");
        for line in script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let said = escaped(line);
            lines.push_str(&format!(
                "{{ {line}\n}} 2>errors\ncode=$?\nsed 's/^/! /' errors\nrm errors\n\
                 echo \"-- $code: {said}\"\n"
            ));
        }
        let path = format!("{}:/usr/bin:/bin", self.tools.path().display());
        let output = Command::new("bash")
            .args(["-c", &lines])
            .env("PATH", path)
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.images.path())
            .stdin(Stdio::null())
            .output()
            .expect("bash starts");
        rateless(&timeless(&output.stdout))
    }
}

/// For between double quotes.
fn escaped(line: &str) -> String {
    let special = |letter: char| matches!(letter, '"' | '\\' | '$' | '`');
    let mut text = String::new();
    for letter in line.chars() {
        if special(letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// Without how long requests took, and what takes how much room on the host.
fn rateless(text: &str) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        let plain = line.trim_start();
        if ["disk size:", "file length:", "Image end offset:"]
            .iter()
            .any(|start| plain.starts_with(start))
        {
            continue;
        }
        let end = line.find(" ops; ").unwrap_or(line.len());
        kept.push_str(&line[..end]);
        kept.push('\n');
    }
    kept
}

pub(crate) fn compare(scripts: &[&str]) {
    let Some(theirs) = theirs() else {
        return;
    };
    for script in scripts {
        let found = Stage::new(ours()).run(script);
        let expected = Stage::new(&theirs).run(script);
        assert!(
            found == expected,
            "{script}\n=== here\n{found}\n=== QEMU\n{expected}"
        );
    }
}

macro_rules! alike {
    ($($test:ident: $scripts:expr,)*) => {
        $(
            #[test]
            fn $test() {
                $crate::scripts::compare(&$scripts);
            }
        )*
    };
}

pub(crate) use alike;

alike! {
    requests_beyond_the_end_fail_alike: [r"
        qemu-img create -f qcow2 t 128M
        qemu-io -c 'write 134217216 512' -c 'write 128M 512' -c 'write 134217216 1k' t
        qemu-io -c 'read -512 512' -c 'read 0 8E' -c 'read 0 0x7fffffffffffffff' t
        qemu-io -c 'write 0 0x7fffffff' -c 'write -z 0 4G' -c 'write -zn 0 4G' t
        qemu-io -c 'discard 0 2G' -c 'discard 0 2147483136' -c 'discard 127M 2M' t
        qemu-io -c 'readv 0 0x7fffffff' -c 'readv 0 2147483136' -c 'writev 128M 0' t
        qemu-io -c 'write 128M 0' -c 'write -z 128M 0' -c 'length' -c 'map' t
        qemu-img create -f qcow2 none 0
        qemu-io -c 'read 0 512' -c 'write 0 512' -c 'read 0 0' -c 'map' -c 'alloc 0' none
        qemu-img map none
        qemu-img convert -O qcow2 none copy
        qemu-img compare none copy
    "],
    zeroes_stay_what_they_are: [
        r"
        qemu-img create -q -f qcow2 t 128M
        qemu-io -c 'write -P 17 0 1k' -c 'write -z 128k 64k' -c 'write -z 200000 1000' t
        qemu-io -c 'write -z -u 0 192k' -c 'map' -c 'write -zn 5 1M' -c 'map' t
        qemu-io -c 'discard 0 1M' -c 'discard 5 100' -c 'map' t
        qemu-img map --output=json t
        ",
        r"
        qemu-img create -q -f qcow2 -o compat=0.10 base 64M
        qemu-io -c 'write -z -u 2M 2M' -c 'write 4M 2M' -c 'write -z 4M 1M' -c 'map' base
        qemu-img create -q -f qcow2 -F qcow2 -b base t
        qemu-io -c 'write 10M 2M' -c 'write -z 10M 512k' -c 'write -zu 11M 512k' t
        qemu-io -c 'write -zu 6M 100' -c 'write -z 20M 65537' -c 'write -P 0 30M 1M' t
        qemu-io -c 'discard 10M 1M' -c 'discard 30M 1M' -c 'discard 40M 1M' -c 'map' t
        qemu-img check t
        ",
    ],
    parts_of_clusters_count_as_whole_ones: [r"
        qemu-img create -q -f qcow2 base 64M
        qemu-io -c 'write -P 1 0 1M' -c 'write -P 3 8388096 1k' -c 'write -P 4 16M 3' base
        qemu-img create -q -f qcow2 -F qcow2 -b base t
        qemu-io -c 'write -P 9 512k 64k' -c 'write -P 10 32M 512' -c 'read -P 1 0 512k' t
        qemu-img map --output=json t | sed 's/, .offset.*//'
        qemu-img convert -O qcow2 t copy
        qemu-img compare t copy
        qemu-img commit t
        qemu-io -c 'read -P 9 512k 64k' -c 'read -P 10 32M 512' base
        qemu-img map --output=json base | sed 's/, .offset.*//'
    "],
    overlays_for_a_while_keep_nothing: [r"
        qemu-img create -q -f qcow2 t 1M
        qemu-io -c 'write -q -P 1 0 64k' t
        qemu-io -s -c 'read -P 1 0 64k' -c 'write -P 2 0 64k' -c 'read -P 2 0 64k' -c map -c info t
        qemu-io -s -c 'truncate 2M' -c length -c 'write -z 0 1M' -c 'discard 0 1M' -c map t
        qemu-io -s -n -c 'write -b 0 512' -c 'read -b 0 512' t
        qemu-io -c 'read -P 1 0 64k' -c length t
        qemu-img create -q -f raw r 1M
        qemu-io -f raw -s -c 'write -P 2 0 64k' -c 'read -P 2 0 64k' r
        qemu-io -f raw -r -s -c 'write -P 2 0 64k' r
        qemu-io -f raw -c 'read -P 0 0 64k' r
        qemu-io -s nonex
        qemu-io -s -f qcow2 r
        qemu-io -s --image-opts -c 'write 0 64k' driver=qcow2,file.filename=t
        qemu-io -c 'open -s t' -c 'write -P 2 0 64k' -c close -c 'open t' -c 'read -P 1 0 64k'
        qemu-io -s -c 'open t' t
        qemu-io -c 'open -o snapshot=on t' -c 'write 0 512'
        qemu-img info --image-opts driver=qcow2,snapshot=on,file.filename=t
    "],
    objects_are_alike: [r"
        qemu-img create -q -f raw r 1M
        printf 123456 >secret
        look() { qemu-io --object $1 -f raw -c length r; qemu-img map --object $1 -f raw r; }
        look secret,id=s,data=123456
        look secret,id=s
        look secret,data=1
        look secret,id=s,file=secret
        look secret,id=s,file=nonex
        look secret,id=s,file=secret,data=1
        look secret,id=s,data=ab!,format=base64
        look secret,id=s,data=x,format=foo
        look secret,id=s,data=x,keyid=k
        look secret,id=1x,data=x
        look secret,id=s,foo=bar
        qemu-img info --object secret,id=s,data=x --object secret,id=s,data=x r
        qemu-io --object throttle-group,id=s --object secret,id=s,data=x -f raw r
        look throttle-group,id=t0,x-iops-total=-1
        look qom-type=secret,id=s,data=x
        look throttle-group,id=t0,x-iops-total=a
        look throttle-group,id=t0,limits.foo=100
        look iothread,id=i0
        look rng-random,id=r
        look foo
        look foo,id=x
        look id=x
        look ,
    "],
    commands_read_their_lines_alike: [
        r"
        qemu-img create -q -f raw r 1M
        say() { for c in abc f d t c o w r l i m a q '?' wv rv; do qemu-io -f raw -c $c r; qemu-io -f raw -c $c' -y' r; qemu-io -f raw -c $c' 1 2 3 4 5' r; done; }
        say
        qemu-io -f raw -c 'alloc -y' -c 'sleep -1' -c 'sleep 0x1' -c 'sleep 08' -c 'sigraise -y' r
        qemu-io -f raw -c 'break -x -y' -c 'resume -y' -c 'remove_break -y' -c 'help -y' r
        qemu-io -f raw -c 'zone_append 0 512' -c 'zone_append 0 512 512' -c 'zone_open -5 -5' r
        qemu-io -f raw -c 'truncate x y' -c 'truncate 1M 2M' -c 'truncate -m foo 1M' r
        qemu-io -f raw -c 'quit 5' -c 'foo' r
        qemu-io -c 'help' | sed 's/ -- .*//'
        qemu-io -c 'open' -c 'open -r'
        qemu-io -f raw -c 'open -o driver=raw,read-only=on r' r
        qemu-io -c 'open -o driver=raw,read-only=on,file.filename=r'
        qemu-io --image-opts -c length r
        qemu-io --image-opts -c length driver=raw,file.filename=r,nofoo
        ",
        r"
        qemu-img create -q -f raw r 1M
        printf 'read 0 512\n\n  length  \nread\t0\t512\nfoo\nq\n' | qemu-io -f raw r
        printf 'open -o driver=raw r\nclose\nlength' | qemu-io
        printf '' | qemu-io -f raw r
        ",
    ],
    what_is_damaged_is_said_alike: [
        r"
        poke() { printf $3 | dd of=$1 bs=1 seek=$(($2)) conv=notrunc status=none; }
        make() { rm -f t; qemu-img create -q -f qcow2 t 64M; qemu-io -c 'write -q 0 128k' t; }
        make
        poke t 0x40000 '\x80\0\0\0\0\x05\x2a\0'
        qemu-io -r -c 'read 0 512' -c 'read 0 512' t
        qemu-img convert -O qcow2 t copy
        qemu-io -c 'read 0 512' -c 'write 0 512' -c 'write 1M 512' t
        qemu-io -c 'read 0 512' t
        make
        poke t 0x40000 '\x80\0\0\0\0\x01\0\0'
        qemu-io -c 'write 0 512' -c 'aio_write 1M 512' -c aio_flush t
        make
        poke t 0x20008 '\0\0'
        qemu-io -c 'write 1M 64k' t
        qemu-img check -r leaks t
        qemu-img check -r all t 2>/dev/null | grep -v found
        qemu-io -c 'write 2M 64k' -c 'read -P 0xcd 0 64k' t
        ",
    ],
    snapshots_are_shown_alike: [r"
        qemu-img create -q -f qcow2 t 64M
        qemu-io -c 'write -q 0 64k' t
        qemu-img snapshot -c a t
        qemu-io -c 'write -q -P 3 1M 4M' t
        qemu-img convert -l a -O qcow2 t copy
        qemu-img map --output=json copy | sed 's/, .offset.*//'
        qemu-img convert -l snapshot.name=a -O raw t plain
        qemu-io -f raw -c 'read -P 0xcd 0 64k' -c 'read -P 0 64k 4M' plain
        qemu-img measure -O qcow2 -l a t
        qemu-img measure -O qcow2 -l snapshot.id=1 t
        qemu-img measure -O qcow2 t
    "],
    storage_is_measured_alike: [r"
        qemu-img create -q -f raw r 1G
        qemu-io -f raw -c 'write -q 512 512' -c 'write -q 1000M 1M' r
        look() { qemu-img measure -O qcow2 -o $1 -f raw r; qemu-img measure -O qcow2 -o $1 --size 13M; }
        look cluster_size=512
        look cluster_size=2M
        look cluster_size=64k,extended_l2=on
        look refcount_bits=1
        look refcount_bits=64
        look compat=0.10
        look preallocation=metadata
        look preallocation=full
        look backing_file=b,backing_fmt=raw
        look data_file=x
        qemu-img measure -O file --size 1G
        qemu-img measure -O qcow2 --size 7E
        qemu-img measure -O qcow2 --size 64T
    "],
    bitmaps_keep_their_places: [r"
        qemu-img create -q -f qcow2 t 1G
        qemu-img bitmap --add t b0
        qemu-img bitmap --add -g 512 t b1
        qemu-img bitmap --add --disable t b2
        qemu-img bitmap --enable t b2
        qemu-img bitmap --disable t b0
        qemu-io -c 'write -q 3M 64k' t
        qemu-img bitmap --merge b1 t b0
        qemu-img bitmap --add --merge b0 t b3
        qemu-img bitmap --clear t b1
        qemu-img bitmap --remove t b1
        qemu-img info t
    "],
    options_of_files_are_alike: [r"
        qemu-img create -q -f raw r 1M
        look() { qemu-io --image-opts -c 'read 0 512' driver=file,filename=r,$1; qemu-img info --image-opts driver=raw,file.filename=r,file.$1; }
        look drop-cache=on
        look drop-cache=off
        look aio-max-batch=5
        look aio-max-batch=x
        look pr-manager=x
        look locking=off
        qemu-img create -q -f qcow2 t 1M
        qemu-io -c 'reopen -o l2-cache-size=abc' -c 'reopen -o cache-size=' t
        qemu-io -C -r -c 'read 0 512' t
    "],
    nothing_is_behind_the_dashes: [r"
        qemu-img create -q -f raw r 1M
        say() { for c in r readv w writev aio_read aio_write f d l map a i o reopen break resume sleep sigraise zrp zo zc zf zrs zap; do qemu-io -f raw -c $c' --' r; qemu-io -f raw -c $c' -- --' r; qemu-io -f raw -c $c' -- -- --' r; qemu-io -f raw -c $c' 0 --' r; qemu-io -f raw -c $c' -- 0' r; done; }
        say
    "],
    asking_for_options_is_alike: [r"
        names() { qemu-img $@ | sed -E 's/^(  [a-z0-9_.-]+=<[^>]*>).*/\1/' | grep -v encrypt; }
        names create -f raw -o help
        names create -f qcow2 -o help
        names create -f qcow2 -o cluster_size=4k,help t 1M
        names convert -O qcow2 -o cluster_size=4k -o help
        names amend -f qcow2 -o help
        names measure -O qcow2 -o help
        names create -f foo -o help
        names amend -f raw -o help
        names create -f null-co -o help
    "],
    names_with_colons_are_alike: [r"
        qemu-img create -q -f qcow2 ./a:b 1M
        qemu-img create -f qcow2 a:b 1M
        qemu-img create -q -f qcow2 -F qcow2 -b file:a:b file:c:d
        qemu-img info ./c:d
        qemu-img map file:c:d
        qemu-img rebase -u -F qcow2 -b ./a:b file:c:d
        qemu-io -c length ./c:d
        qemu-io -c length c:d
    "],
    compressed_clusters_are_alike: [r"
        qemu-img create -q -f qcow2 t 4M
        qemu-io -c 'write -P 1 0 3M' -c 'write -P 2 3M 100' t
        qemu-img convert -c -O qcow2 t c
        qemu-img compare -s t c
        qemu-img convert -c -O qcow2 -o compression_type=zstd,cluster_size=4k t z
        qemu-img compare t z
        qemu-img create -q -f qcow2 -F qcow2 -b c over
        qemu-io -c 'write -P 7 32k 5' -c 'read -P 1 0 32k' -c 'read -P 7 32k 5' over
        qemu-img compare over c
        qemu-io -c 'write -c -P 4 4095k 512' -c 'write -c 1 512' -c map c
        qemu-img check c
    "],
}

/// The step before which a request is held, told by who holds it.
#[test]
fn the_same_steps_can_be_held() {
    let mut script = r"
        qemu-img create -q -f qcow2 base 1M
        qemu-io -c 'write -q -P 3 0 1M' base
        qemu-img create -q -f qcow2 -F qcow2 -b base t 2M
        qemu-io -c 'write -q 64k 9000' t
        qemu-img create -q -f raw r 1M
        "
    .to_owned();
    let held = |image: &str, event: &str, command: &str| {
        let format = if image == "r" { "-f raw" } else { "" };
        format!(
            "cp {image} now; timeout 60 qemu-io {format} -c 'break {event} A' -c '{command}' \
             -c 'wait_break A' -c 'resume A' -c aio_flush blkdebug::now\n"
        )
    };
    for (event, command) in [
        ("l2_load", "aio_read 0 512"),
        ("read_backing_aio", "aio_read 0 512"),
        ("read_aio", "aio_read 64k 512"),
        ("write_aio", "aio_write 64k 100"),
        ("write_aio", "aio_write 1M 64k"),
        ("cow_read", "aio_write 1000 10"),
        ("cow_write", "aio_write 1000 10"),
        ("cluster_alloc", "aio_write 0 64k"),
        ("refblock_load", "aio_write 0 64k"),
        ("refblock_alloc", "aio_write 0 64k"),
        ("cluster_alloc_space", "aio_write 1025k 100"),
        ("l2_update", "aio_write 0 64k"),
        ("refblock_update_part", "aio_write 0 64k"),
        ("flush_to_os", "aio_write 0 64k"),
        ("pwritev", "aio_write 64k 100"),
        ("pwritev_done", "aio_write 64k 100"),
    ] {
        script += &held("t", event, command);
    }
    for (event, command) in [
        ("read_aio", "aio_read 0 512"),
        ("write_aio", "aio_write 0 512"),
        ("write_aio", "aio_write 5 20"),
        ("pwritev", "aio_write 5 20"),
    ] {
        script += &held("r", event, command);
    }
    compare(&[&script]);
}

/// A step that fails makes the same requests fail, and nothing is broken.
#[test]
fn the_same_steps_fail() {
    let mut script = r"
        qemu-img create -q -f qcow2 base 1M
        qemu-io -c 'write -q -P 3 0 1M' base
    "
    .to_owned();
    for event in [
        "l1_update",
        "l2_load",
        "l2_update",
        "l2_alloc_write",
        "read_aio",
        "read_backing_aio",
        "read_compressed",
        "write_aio",
        "vmstate_save",
        "vmstate_load",
        "cow_read",
        "cow_write",
        "refblock_load",
        "refblock_alloc",
        "refblock_update_part",
        "cluster_alloc",
        "flush_to_os",
        "pwritev",
    ] {
        script += &format!(
            r#"
            printf '[inject-error]\nevent = "{event}"\nerrno = "28"\nonce = "on"\n' >rules
            qemu-img create -q -f qcow2 -o cluster_size=4k -F qcow2 -b base t 2M
            qemu-io -c 'write -q 64k 9000' t
            qemu-io -c 'read 0 512' -c 'read 64k 512' -c 'write 70000 10' -c flush -c 'write 512k 3000' -c flush -c 'write -z 64k 4k' -c 'write -z 66k 100' -c 'discard 64k 8k' -c 'write -c 128k 4k' -c 'read 128k 4k' -c flush -c 'write -b 0 4k' -c 'read -b 0 4k' -c flush blkdebug:rules:t 2>/dev/null
            qemu-img check t 2>/dev/null | grep -c corrupt
            "#
        );
    }
    compare(&[&script]);
}
