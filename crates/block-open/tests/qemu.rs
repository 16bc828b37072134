//! What is refused, in the words of QEMU's own tools.

use block_gs::{BlockLayer, BqlGuard, Perm};
use block_open::{Options, for_filename, open};
use test_support::{READ_WRITE, Tool, backend};

/// As a device that writes would attach to it.
fn attach(bql: &mut BqlGuard, options: Result<Options, block_open::OpenError>) -> Option<String> {
    let mut options = match options {
        Ok(options) => options,
        Err(error) => return Some(error.to_string()),
    };
    // What the tool opens with unless told otherwise.
    options.set_default("discard", "unmap");
    let node = match open(bql, options) {
        Ok(node) => node,
        Err(error) => return Some(error.to_string()),
    };
    let attached = backend(bql, &node, READ_WRITE | Perm::RESIZE);
    attached.err().map(|error| error.to_string())
}

/// What `qemu-io` says without its name and the warnings before.
fn theirs(output: &[u8], prefix: &str) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let last = text.lines().rfind(|line| line.starts_with("qemu-io: "))?;
    let message = last.strip_prefix("qemu-io: ")?;
    Some(message.strip_prefix(prefix).unwrap_or(message).to_owned())
}

#[test]
fn options_are_refused_as_qemu_io_does() {
    let Some(qemu_io) = Tool::find("qemu-io") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("a.img"), vec![0; 1 << 20]).expect("written");
    let image = format!("{}/a.img", directory.path().display());
    let layer = BlockLayer::new().expect("a block layer");
    for options in [
        "driver=x",
        "filename=@",
        "driver=raw",
        "driver=file",
        "driver=",
        "",
        "driver=raw,file=nobody",
        "driver=raw,file=",
        "file=nobody",
        "driver=raw,x=1,file.filename=@",
        "driver=raw,a.b.c=1,file.filename=@",
        "driver=raw,filename=@",
        "driver=raw,filename=@,file.filename=@",
        "driver=raw,file.filename=@,file.x=3",
        "driver=raw,file.filename=@,cache=none",
        "driver=raw,file.filename=@,cache.writeback=off",
        "driver=null-co,x=1",
        "driver=null-co,filename=foo",
        "driver=null-co,file.driver=null-co",
        "driver=raw,file.driver=file",
        "driver=raw,file.driver=x",
        "driver=raw,file.driver=raw",
        "driver=raw,file.0=x",
        "driver=raw,file=foo,file.driver=file",
        "driver=raw,file.driver=null-co,file.filename=x",
        "driver=raw,offset=-1,file.filename=@",
        "driver=raw,size=5,file.filename=@",
        "driver=raw,offset=2M,file.filename=@",
        "driver=raw,file.filename=@,read-only=xx",
        "driver=raw,file.filename=@,read-only=on",
        "driver=raw,file.filename=@,discard=xx",
        "driver=raw,file.filename=@,detect-zeroes=xx",
        "driver=raw,file.filename=@,cache.direct=x",
        "driver=raw,file.filename=@,force-share=on",
        "driver=raw,file.filename=@,node-name=1x",
        "driver=raw,file.filename=@,node-name=a,file.node-name=a",
        "driver=null-co,node-name=abcdefghijklmnopqrstuvwxyz0123456789",
        "driver=file,filename=@,aio=xx",
        "driver=file,filename=@,aio=native",
        "driver=file,filename=@,locking=xx",
        "driver=file,filename=/nosuch",
        "driver=file,filename=/nosuch,node-name=1x",
        "driver=file,filename=/nosuch,discard=x",
        "driver=file,filename=/nosuch,x=1",
        "driver=raw,file.filename=/nosuch,discard=xx",
        "driver=host_device,filename=@",
        "driver=raw,file.filename=null-co://",
        "driver=null-co,latency-ns=-3",
        "driver=null-aio,x=1",
        "driver=copy-on-read",
        "driver=copy-on-read,file=nobody",
        "driver=copy-on-read,file.filename=/nosuch",
        // These it opens.
        "driver=raw,file.filename=@",
        "file.filename=@",
        "driver=raw,offset=1.5k,file.filename=@",
        "driver=raw,file.driver=raw,file.file.filename=@",
        "driver=null-co,size=1G,size=2G",
        "driver=null-aio",
        "driver=file,filename=@,locking=on",
        "driver=copy-on-read,file.filename=@",
        "driver=null-co,size=0x1000,read-only=no",
        "driver=raw,file.filename=@,detect-zeroes=unmap,file.aio=threads,file.locking=auto",
    ] {
        let options = options.replace('@', &image);
        let output = qemu_io.run(["--image-opts", "-c", "length", &options]);
        let theirs = theirs(&output.stderr, "can't open: ");
        let parsed = Options::parse(&options).map_err(Into::into);
        let ours = layer.enter(|bql| attach(bql, parsed));
        assert_eq!(ours, theirs, "{options}");
    }
}

#[test]
fn file_names_are_refused_as_qemu_io_does() {
    let Some(qemu_io) = Tool::find("qemu-io") else {
        return;
    };
    let layer = BlockLayer::new().expect("a block layer");
    for name in [
        "json:{}",
        "json:[]",
        r#"json:"x""#,
        r#"json:{"driver":"raw","file":"x"}"#,
        r#"json:{"driver":"raw","file":null}"#,
        r#"json:{"driver":"raw","file":{}}"#,
        r#"json:{"driver":"raw","file":["a"]}"#,
        r#"json:{"driver":"raw","read-only":5,"file":{"driver":"null-co"}}"#,
        r#"json:{"driver":"raw","read-only":"on","file":{"driver":"null-co"}}"#,
        r#"json:{"driver":"null-co","x":{"y":1}}"#,
        r#"json:{"driver":"null-co","":3}"#,
        "null-co:",
        "null-co://x",
        "foo:bar",
        "./nosuch:file",
        "/nosuch",
        // These it opens.
        r#"json:{"driver":"null-co","size":1024}"#,
        r#"json:{"driver":"null-co","size":"1k"}"#,
        r#"json:{"driver":"null-co","size":1e3}"#,
        r#"json:{"driver":"null-co","size":null}"#,
        "null-co://",
    ] {
        let output = qemu_io.run(["-c", "length", name]);
        let theirs = theirs(&output.stderr, &format!("can't open device {name}: "));
        let ours = layer.enter(|bql| attach(bql, for_filename(name, Options::new())));
        assert_eq!(ours, theirs, "{name}");
    }
}
