//! Layer 2 on a real cable of the kernel, frame by frame.

mod answering;
mod asking;
mod lan;
mod links;
mod load;
