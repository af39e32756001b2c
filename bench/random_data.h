// Data sets of random content, where only time and memory are measured.
#pragma once

#include "apps/catalog.h"

namespace sluice::bench {

/// 4096 images of 32x32x3 in 10 classes; the same for training and test.
TrainingData random_images();
/// 4096 documents of `length` words each, so that nothing is padding, from a vocabulary of 30,000, in 4 classes.
TrainingData random_texts(int64_t length);

}  // namespace sluice::bench
