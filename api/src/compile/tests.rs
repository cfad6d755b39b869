//! One bad object is refused alone, with words; the others go on.
