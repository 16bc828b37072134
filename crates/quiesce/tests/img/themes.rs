//! Scripts on what QEMU's own tests look at: external data files, tables of
//! snapshots that are damaged, locks, zeroes beside a backing image, sizes
//! that change, steps that fail.

use crate::scripts::alike;

/// What the scripts below share: bytes written into a file and read from it, a
/// tool that has an image open meanwhile, and maps without offsets.
macro_rules! with_tools {
    ($script:literal) => {
        concat!(
            r#"
            poke() { printf "$3" | dd of=$1 bs=1 seek=$(($2)) conv=notrunc status=none; }
            peek() { dd if=$1 bs=1 skip=$(($2)) count=$3 status=none | od -An -tx1 | tr -d ' \n'; }
            hold() { mkfifo p; touch held; qemu-io $1 <p >held 2>&1 & exec 9>p; echo length >&9; until grep -q MiB held; do sleep 0.1; done; }
            drop() { exec 9>&-; wait; rm p; sed 's/qemu-io> //g' held; }
            places() { qemu-img map --output=json $1 | sed 's/, "offset.*//'; }
            dateless() { "$@" | sed -E 's/20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9:]{8}/DATE/'; }
            "#,
            $script
        )
    };
}

alike! {
    preallocated_targets_are_alike: [with_tools!(r"
        qemu-img create -q -f raw r 1M
        for f in raw qcow2; do for m in off falloc full; do rm -f o; qemu-img convert -f raw -O $f -o preallocation=$m r o; places o; done; done
        for m in off falloc full; do qemu-img create -q -f qcow2 -o preallocation=$m o 1M; places o; qemu-img convert -n -f raw -O qcow2 r o; places o; qemu-img check o; done
        qemu-img create -q -f qcow2 -F qcow2 -b o over
        qemu-img convert -O qcow2 -S 0 -o preallocation=metadata over n
        places n
    ")],
    zeroes_beside_a_backing_image_are_alike: [
        with_tools!(r"
        qemu-img create -q -f qcow2 base 128M
        qemu-io -c 'write -q -P 10 27k 30k' -c 'write -q -P 11 128k 64k' base
        qemu-img create -q -f qcow2 -F qcow2 -b base t
        qemu-io -c 'write -z 0 1k' -c 'write -z 65k 1k' -c 'write -z 28k 2k' -c 'write -z 190k 4k' t
        places t
        qemu-io -c 'read -P 10 27k 1k' -c 'read -P 0 28k 2k' -c 'read -P 11 128k 62k' -c map t
        for s in 512 1024 2560 66048; do qemu-img create -q -f qcow2 -F qcow2 -b base t $((134217728+s)); qemu-io -c 'write -z 128M 512' -c map t; places t; qemu-io -c 'write -z 128M 1k' -c 'read 128M 512' -c map t; places t; qemu-img check t; done
        "),
        with_tools!(r"
        for b in '' '-F qcow2 -b base'; do rm -f t; qemu-img create -q -f qcow2 base 1M; qemu-io -c 'write -q -P 1 0 1M' base; qemu-img create -q -f qcow2 $b t 512k; for n in 513k 600k 1025k 2M; do qemu-img resize t $n; places t; done; for n in 600k 1k; do qemu-img resize --shrink t $n; qemu-io -c map t; done; qemu-img resize t 1M; qemu-img check t; places t; done
        for p in off metadata falloc full; do qemu-img create -q -f qcow2 base 6M; qemu-io -c 'write -q -P 1 0 6M' base; qemu-img create -q -f qcow2 -F qcow2 -b base t 1M; qemu-img resize --preallocation=$p t 6M; places t; qemu-io -c 'read -P 0 1M 5M' t; qemu-img check t; done
        "),
    ],
    who_else_uses_an_image_is_alike: [with_tools!(r"
        qemu-img create -q -f qcow2 base 32M
        qemu-img create -q -f qcow2 -F qcow2 -b base t
        all() { for line in 'info' 'check' 'check -U' 'map' 'map -U' 'amend -o size=32M' 'commit' 'resize -U' 'snapshot -l' 'snapshot -l -U' 'snapshot -a x' 'snapshot -a x -U' 'bench -c 1' 'measure -O raw' 'bitmap --add'; do qemu-img $line $1 $2 2>&1 | grep -v -e 'disk size' -e 'completed in'; done; qemu-io -c length $1; qemu-io -r -c length $1; qemu-io -r -U -c length $1; qemu-io -U -c 'write 0 512' $1; }
        hold t
        all t
        qemu-img create -q -f qcow2 -F qcow2 -b t u
        qemu-img create -q -f qcow2 -F qcow2 -b base u2
        all u
        all base
        qemu-img commit u2
        qemu-img rebase -F qcow2 -b t u2
        qemu-img rebase -u -F qcow2 -b t u2
        drop
        hold '-r t'
        all t
        qemu-img commit u2
        drop
    ")],
    options_in_place_of_files_are_alike: [r#"
        qemu-img create -q -f qcow2 t 1M
        qemu-io --image-opts -c 'open driver=qcow2,file.filename=t' -c length
        qemu-io --image-opts -c 'open t' -c length
        qemu-io --image-opts -c 'open -o driver=qcow2 t' -c length
        qemu-io --image-opts -c 'open -r driver=qcow2,file.filename=t' -c 'write 0 512'
        qemu-io -c 'reopen -o read-only=on' -c 'write 0 512' -c 'reopen -r' -c 'write 0 512' t
        qemu-io -C -c 'reopen -o lazy-refcounts=on' -c 'reopen -c none' -c 'reopen -r' -c 'write 0 512' t
        qemu-img create -q -f raw r 1M
        qemu-io -f raw -c 'truncate --' -c 'truncate -- 5' -c 'truncate -m off --' -c 'truncate -m off' -c 'truncate x' -c length r
        head() { qemu-img info $1 | sed -n 1p; }
        head 'json:{"driver":"blkdebug","image":{"driver":"file","filename":"r"},"inject-error":[{"event":"read_aio","errno":5}],"set-state":[{"event":"pwritev","new_state":3}]}'
    "#],
    data_files_are_alike: [
        with_tools!(r"
        qemu-img create -f qcow2 -o data_file=d t 64M
        stat -c %s d
        qemu-img check t
        qemu-io -c 'open -odata-file.filename=d t' -c 'read -P 0 0 64k'
        qemu-io -c 'open -odata-file.filename=nonex t' -c 'read -P 0 0 64k'
        qemu-img amend -odata_file= t
        qemu-img info t
        qemu-img info --image-opts driver=qcow2,file.filename=t,data-file.filename=nonex
        qemu-io -c 'open t' -c 'read -P 0 0 64k'
        qemu-img create -q -f qcow2 i 64M
        qemu-io -c 'open -odata-file.filename=d i'
        qemu-img amend -odata_file=d i
        qemu-io -c 'write -q -P 17 0 1M' i
        qemu-img convert -f qcow2 -O qcow2 -c -o data_file=d i t
        qemu-img convert -f qcow2 -O qcow2 -o data_file=d i t
        qemu-img compare i t
        qemu-io -c 'write -c -P 34 0 1M' t
        qemu-img snapshot -c test t
        for r in on off; do qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=$r t 64M; qemu-io -c 'write -P 17 1M 4M' -c 'write -z 3M 3M' t; qemu-img check t; qemu-img map t; qemu-io -c 'read -P 0 0 1M' -c 'read -P 17 1M 2M' -c 'read -P 0 3M 4M' t; qemu-io -f raw -c 'read -P 0 0 1M' -c 'read -P 17 1M 1M' -c 'read -P 0 5M 1M' d; qemu-img resize --shrink t 10M; stat -c %s d; qemu-img resize --preallocation=falloc t 20M; stat -c %s d; qemu-img info t; done
        "),
        with_tools!(r"
        qemu-img create -q -f raw d 64M
        qemu-io -f raw -c 'write -q -P 3 0 1M' d
        qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=on t 1M
        qemu-io -c 'read -P 0 0 1M' t
        stat -c %s d
        qemu-img create -f qcow2 -o data_file=e,data_file_raw=on -b t -F qcow2 u
        qemu-img create -f qcow2 -o data_file=nodir/d u 1M
        qemu-img create -f qcow2 -o data_file=foo:bar u 1M
        qemu-img create -f qcow2 -o data_file=json:{} u 1M
        qemu-img create -f qcow2 -o data_file=u u 1M 2>&1 | grep -v regular
        qemu-img amend -o data_file_raw=off t
        qemu-img amend -o data_file=nonex t
        qemu-img info t
        qemu-img info --output=json t | grep data
        qemu-img check t
        qemu-img create -q -f qcow2 -F qcow2 -b t over
        qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=on t 1M
        poke t 79 '\0'
        qemu-img info t
        qemu-img check t
        "),
    ],
    damaged_tables_of_snapshots_are_alike: [with_tools!(r"
        qemu-img create -q -f qcow2 t 64M
        for s in sn0 sn1 sn2; do qemu-img snapshot -c $s t; done
        at=$((0x$(peek t 64 8)))
        look() { dateless qemu-img info u; qemu-img snapshot -l u; qemu-io -c 'read 0 512' u; qemu-img check u; qemu-img map u; qemu-img snapshot -a sn0 u; qemu-img amend -o compat=0.10 u; qemu-img resize u 65M; qemu-img convert -l sn1 -O raw u v; qemu-img create -f qcow2 -b u -F qcow2 w; qemu-img check -r leaks u; qemu-img check -r all u; qemu-img check u; dateless qemu-img snapshot -l u; }
        cp t u
        poke u $((at+2*72+36)) '\0\001\0\0'
        look
        cp t u
        poke u $((at+36)) '\0\0\004\001'
        qemu-img info u
        qemu-img check u
        cp t u
        poke u 60 '\0\001\0\001'
        qemu-img info u
        qemu-img check u
        cp t u
        poke u 32 '\377\377\0\0'
        qemu-img info u
    "), with_tools!(r#"
        qemu-img create -q -f qcow2 t 64M
        poke t 64 '\0\0\0\0\0\020\0\0'
        truncate -s 40 sn
        poke sn 12 '\377\377\377\377'
        poke sn 36 '\0\0\004\0'
        o=1048576; n=0
        while [ $((o-1048576)) -le $((64*1048576)) ]; do dd if=sn of=t bs=1 seek=$o conv=notrunc status=none; n=$((n+1)); o=$((o+132136)); done
        truncate -s $o t
        poke t 60 $(printf '%08x' $n | sed 's/\(..\)/\\x\1/g')
        qemu-img info t
        qemu-io -c 'read 0 512' t
        qemu-img check t | tail -3
        qemu-img check -r all t | tail -3
        qemu-img check t
        qemu-img info t | wc
    "#)],
    bitmaps_go_where_they_can: [r"
        qemu-img create -q -f qcow2 t 1M
        qemu-img bitmap --add t b
        qemu-img convert --bitmaps -n -O qcow2 t t2
        qemu-img create -q -f qcow2 t2 1M
        qemu-img convert --bitmaps -n -O qcow2 t t2
        qemu-img convert --bitmaps -n -O qcow2 t t2
        qemu-img create -q -f qcow2 -o compat=0.10 t3 1M
        qemu-img bitmap --add t3 b
        qemu-img convert --bitmaps -n -O qcow2 t t3
        qemu-img convert --bitmaps -O qcow2 -o compat=0.10 t t4
        qemu-img convert --bitmaps -O qcow2 t3 t4
        qemu-img convert --bitmaps -O raw t t5
        qemu-img measure -O qcow2 t3
    "],
}

/// A length that cannot be changed, and which step it was.
#[test]
fn truncations_fail_in_the_same_words() {
    let mut script = r"
        qemu-img create -q -f qcow2 -o cluster_size=512 base 1M
        qemu-io -c 'write -q 300k 10k' base
        "
    .to_owned();
    for (event, how, length) in [
        ("l1_grow_alloc_table", "", "64M"),
        ("l1_grow_write_table", "", "64M"),
        ("l1_grow_activate_table", "", "64M"),
        ("cluster_alloc", "--preallocation=metadata", "1025k"),
        ("l1_shrink_write_table", "--shrink", "100k"),
    ] {
        script += &format!(
            r#"
            printf '[inject-error]\nevent = "{event}"\nerrno = "28"\nonce = "on"\n' >rules
            cp base t
            qemu-img resize {how} blkdebug:rules:t {length}
            qemu-img check t 2>&1 | grep -c ERROR
            "#
        );
        if how != "--shrink" {
            let mode = how.replace("--preallocation=", "-m ");
            script += &format!(
                "cp base t\nqemu-io -c 'truncate {mode} {length}' -c length blkdebug:rules:t\n"
            );
        }
    }
    crate::scripts::compare(&[&script]);
}
