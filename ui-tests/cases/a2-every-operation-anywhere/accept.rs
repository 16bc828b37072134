//! Accept A2: Every operation of a request runs in the main loop, in an iothread and in
//! another thread.
//! QEMU: blk_co_pwrite_zeroes(), blk_co_pdiscard(), bdrv_co_block_status() are called from
//! anywhere.
//! Why: They are methods of `Request` and of `Root`; only who polls them differs.

use block_gs::BqlGuard;
use block_io::aio::EventLoop;
use block_io::{Buffer, CopyEnd, IoError, Root, WriteFlags};
use ui_tests::{SIZE, disk, in_main_loop, iothread, null};

async fn all_operations(root: Root) -> Result<u64, IoError> {
    let mut buffer = Buffer::zeroed(1024);
    root.write_zeroes(0, 512, WriteFlags::empty()).await?;
    root.discard(512, 512).await?;
    let in_flight = root.begin().await;
    let request = in_flight.request()?;
    let (left, right) = buffer.destination().split_at(512);
    request.read(0, left).await?;
    request.read(512, right).await?;
    request.write(1024, buffer.source()).await?;
    assert!(request.block_status(0, 512, true).await?.bytes > 0);
    let to = CopyEnd {
        request,
        offset: 4096,
    };
    let copied = request.copy_range(0, to, 512, WriteFlags::empty()).await;
    assert!(matches!(copied, Ok(()) | Err(IoError::NotSupported)));
    request.flush().await?;
    request.length().await
}

fn main() {
    in_main_loop(|bql: &mut BqlGuard| {
        let node = null(bql, "node");
        let disk = disk(bql, "disk", &node);
        let task = |disk: &block_gs::Backend| all_operations(disk.root().clone());
        assert_eq!(bql.block_on(task(&disk))?, SIZE);
        let iothread = iothread(bql, "io0").context().spawn(task(&disk));
        assert_eq!(bql.block_on(iothread)?, SIZE);
        let (there, own) = (task(&disk), || EventLoop::new("own").expect("a loop"));
        let third = std::thread::spawn(move || own().block_on(there));
        assert_eq!(third.join().expect("no panic")?, SIZE);
        Ok(())
    });
}
