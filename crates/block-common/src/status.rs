//! What is known about a range of a node.

bitflags::bitflags! {
    /// Facts about a range (`BDRV_BLOCK_*`).
    ///
    /// | DATA | ZERO | mapped | meaning |
    /// |---|---|---|---|
    /// | yes | yes | yes | zeroes are stored there |
    /// | yes | no | yes | data is stored there |
    /// | no | yes | yes | preallocated, reads as zeroes; the place may hold anything |
    /// | no | no | yes | preallocated, reads from the backing image |
    /// | yes | yes | no | zeroes, somewhere |
    /// | yes | no | no | data, somewhere |
    /// | no | yes | no | not allocated or unknown, reads as zeroes |
    /// | no | no | no | reads from the backing image |
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct StatusFlags: u8 {
        /// Reading takes data from the node itself (`BDRV_BLOCK_DATA`).
        const DATA = 0x01;
        /// Reads as zeroes (`BDRV_BLOCK_ZERO`).
        const ZERO = 0x02;
        /// This node decides what is read, and not its backing image
        /// (`BDRV_BLOCK_ALLOCATED`).
        const ALLOCATED = 0x10;
        /// The range ends where the node does (`BDRV_BLOCK_EOF`).
        const EOF = 0x20;
        /// Stored compressed (`BDRV_BLOCK_COMPRESSED`).
        const COMPRESSED = 0x80;
        /// Of a driver: the child it maps to knows more about zeroes
        /// (`BDRV_BLOCK_RECURSE`). Never in an answer of the layer.
        const RECURSE = 0x40;
    }
}
