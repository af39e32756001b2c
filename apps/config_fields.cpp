// The table of configuration fields, and their other names.
#include "apps/config_parts.h"

namespace sluice {
namespace {

/// How weights are updated.
std::vector<ConfigField> update_fields() {
  using C = RunConfig;
  return {
      {"optimizer", "adam, adamw, rmsprop or sgd", &C::optimizer, true},
      {"lr", "learning rate at the start", &C::lr, true},
      {"end_lr", "learning rate that a cosine ends at", &C::end_lr, true},
      {"lr_schedule",
       "cosine_step: a cosine over all steps; cosine_epoch: the same over epochs, as the original; step: times gamma "
       "every step_every epochs; multistep: times gamma after half and after three quarters of the epochs; noam: by "
       "steps, from embedding_dim and warmup_steps alone; constant: lr throughout",
       &C::lr_schedule, true},
      {"step_every", "lr_schedule=step: epochs between two falls", &C::step_every, true},
      {"gamma", "lr_schedule=step or multistep: factor of a fall", &C::gamma, true},
      {"warmup_epoch",
       "epochs that the rate rises from 0 in, before a schedule by epochs begins: the first epoch has a rate of 0",
       &C::warmup_epoch, true},
      {"warmup_steps", "lr_schedule=noam: steps that the rate rises in", &C::warmup_steps, true},
      {"beta1", "adam, adamw: decay of the mean gradient", &C::beta1, true},
      {"beta2", "adam, adamw: decay of the mean square", &C::beta2, true},
      {"label_lr", "al: learning rate of the label encoders and decoders at the start", &C::label_lr, true},
      {"label_end_lr", "al: and at the end", &C::label_end_lr, true},
      {"momentum", "sgd: momentum", &C::momentum, true},
      {"nesterov", "sgd: Nesterov's step", &C::nesterov, true},
      {"dampening", "sgd: share of a gradient that does not enter the momentum, from the second step on", &C::dampening,
       true},
      {"rms_alpha", "rmsprop: decay of the mean square", &C::rms_alpha, true},
      {"adam_eps", "adam, adamw, rmsprop: added to the root of the second moment", &C::adam_eps, true},
      {"clip_grad",
       "largest norm of the gradients, longer ones are shortened to it: of the whole network with bp, on however many "
       "devices, of each stage with al and scpl; 0: any",
       &C::clip_grad, true},
      {"weight_decay", "L2 for adam, rmsprop and sgd, decoupled for adamw", &C::weight_decay, true},
      {"label_smoothing", "bp: what a label gives up to all other classes; gnmt: to all alike", &C::label_smoothing,
       true},
  };
}

/// What is done to training images.
std::vector<ConfigField> image_fields() {
  using C = RunConfig;
  return {
      {"augmentation",
       "images: none; basic: random crop with 4 pixels of padding, and flip; crop: without the flip; crop_twice: a "
       "crop "
       "of the crop, without the flip; strong: basic, and colours and grey (RGB); two_views: a basic and a strong one, "
       "for scpl, which doubles the batch; area: a window of 8 to 100 % of the area, resized, and flip (RGB); auto: "
       "none for svhn, area for imagenet, else basic",
       &C::augmentation, true},
      {"image_size",
       "side of the images: of imagenet (0: 224), tinyImageNet and image-folder (0: 32), which are resized, and of "
       "fashion-mnist (0: 32), which is padded",
       &C::image_size, true},
      {"autoaugment", "images: AutoAugment's policy, that of SVHN for svhn, else that of CIFAR-10 (RGB)",
       &C::autoaugment, true},
      {"rcpaste", "images: a random box of an image is blended into another place of it", &C::rcpaste, true},
      {"cutmix", "images, bp: a box of each image comes from another of its batch", &C::cutmix, true},
      {"cutmix_prob", "cutmix: share of the images that is mixed; 0: all with cutmix, else none", &C::cutmix_prob,
       true},
      {"cutmix_beta", "cutmix: the share of the image's own area is Beta(this, this)", &C::cutmix_beta, true},
      {"mixup", "images, bp: 80 % of the images become weighted means of two of their batch", &C::mixup, true},
  };
}

/// What only some networks and rules have.
std::vector<ConfigField> network_fields() {
  using C = RunConfig;
  return {
      {"act",
       "activation: relu, sigmoid or tanh of an image network's layers, tanh of a text network's codes; or one for "
       "each, such as f=relu,b=tanh,g=tanh,h=sigmoid; empty: the network's own",
       &C::act, true},
      {"in_channels", "images: channels that the data must have; 0: whatever it has", &C::in_channels, true},
      {"enc_dim", "images, al: hidden width of the bridges", &C::enc_dim, true},
      {"ae_dim", "images, al: width of the label codes", &C::ae_dim, true},
      {"text_columns", "data=csv: columns with the text, by name or, without a header, by number from 1",
       &C::text_columns, true},
      {"label_column", "data=csv: the column with the class", &C::label_column, true},
      {"csv_header", "data=csv: whether the first line names the columns", &C::csv_header, true},
      {"max_len",
       "text: tokens of a document that are kept; training pairs of sentences with more on a side are left out; 0: "
       "128, 200 of residual_lstm, 100 of pairs, 48 of wmt16",
       &C::max_len, true},
      {"min_len", "text: training documents with at most so many words are left out", &C::min_len, true},
      {"vocab_size", "text: words that are told apart, padding and unknown words included", &C::vocab_size, true},
      {"word_vec",
       "text: GloVe or fastText file that embeddings start from; glove or fasttext: that one of their usual files in "
       "data_dir; empty: N(0, 1)",
       &C::word_vec, true},
      {"embedding_dim", "text: width of the embedding, and of the transformer", &C::embedding_dim, true},
      {"x_hid", "text: LSTM units per direction; width of the transformer's feed-forward layer", &C::x_hid, true},
      {"y_hid", "text, al: width of the label codes", &C::y_hid, true},
      {"encoders", "text: encoder stages behind the embedding", &C::encoders, true},
      {"n_layers",
       "transformer: layers of a stage; vit, mlp_mixer: all layers; transformer_base and _big: of the encoder, and as "
       "many "
       "of the decoder; 0: 1, 7, 8 or 6",
       &C::n_layers, true},
      {"n_heads", "transformers, vit: attention heads; 0: 6 or 12, 8 of transformer_base, 16 of transformer_big",
       &C::n_heads, true},
      {"dropout",
       "transformers, gnmt, vit, mlp_mixer, alexnet, inception_v3: share of values that dropout zeroes; below 0: 0.3 "
       "of "
       "transformer and transformer_big, 0.1 of transformer_base, 0.2 of gnmt8 and gnmt16, 0.5 of alexnet and "
       "inception_v3, else 0",
       &C::dropout, true},
      {"accumulate",
       "al: none: all stages train in all epochs; prefix: one stage more after each share of them; fixed: one stage "
       "after the other, those before it frozen",
       &C::accumulate, true},
      {"projector", "scpl: what a stage compares: i its feature, l a linear map of it, m two layers", &C::projector,
       true},
      {"temperature", "scpl: of the contrastive loss", &C::temperature, true},
  };
}

std::vector<ConfigField> joined(std::vector<ConfigField> fields, const std::vector<ConfigField>& more) {
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

}  // namespace

const std::vector<ConfigField>& config_fields() {
  using C = RunConfig;
  static const std::vector<ConfigField> fields = joined(
      {
          {"model",
           "network family: vgg, resnet18 to resnet152, vit, mlp_mixer, alexnet, vgg16, googlenet, inception_v3 or "
           "densenet121 for images; lstm, residual_lstm, transformer or bag_of_embeddings for text; transformer_base, "
           "transformer_big, gnmt8 or gnmt16, encoder and decoder, to translate",
           &C::model, true},
          {"rule",
           "bp: end-to-end backprop; al: associated learning, losses of each stage's own; scpl: contrastive ones; ara, "
           "aba, asa, aba1 to asa4: bp with that --auxiliary; pipeoptim, pipedream and the like: bp with those "
           "--weights",
           &C::rule, true},
          {"data", "the data set: `sluice info` lists them", &C::data, true},
          {"data_dir", "folder with the data set's official files", &C::data_dir, false},
          {"devices", "comma-separated list such as cpu:0,cpu:1 or cuda:0; CPU devices share the cores evenly",
           &C::devices, false},
          {"cores_per_device", "cores of each CPU device; 0: an even share of all; part of the numerics",
           &C::cores_per_device, true},
          {"batch", "samples of one step", &C::batch, true},
          {"test_batch_size", "samples at a time in evaluation", &C::test_batch_size, false},
          {"micro_batches", "parts that a step's batch is cut into; batch norm statistics are per part",
           &C::micro_batches, true},
          {"epochs", "passes over the training set", &C::epochs, true},
          {"max_steps", "stop after so many steps; 0: no limit", &C::max_steps, false},
          {"validation",
           "share of the training samples that is held out; best.safetensors is the epoch that is best on them",
           &C::validation, true},
          {"width", "multiplies every channel count and hidden width; 0.125 trains in seconds on two cores", &C::width,
           true},
          {"dtype",
           "of activations and products: f32 or bf16 (a GPU, or a CPU with AVX-512); weights and losses are f32",
           &C::dtype, true},
          {"faithful", "al: the original's flattened bridges and sigmoid label decoders", &C::faithful, true},
          {"seed", "seed of initial weights, shuffling, augmentation and dropout", &C::seed, true},
          {"out", "run directory: configuration, checkpoint, metrics.csv, trace.json; a killed run resumes from it",
           &C::out, false},
          {"checkpoint_every", "steps between checkpoints; 0: at the end of each epoch", &C::checkpoint_every, false},
          {"train_accuracy", "evaluate the training set too after each epoch, untimed", &C::train_accuracy, false},
          {"repeat", "train so often, with seeds seed, seed + 1, ...; runs go to turn-0, turn-1, ... of --out",
           &C::repeat, false},
          {"trace", "write trace.json (Chrome, Perfetto) of the first steps", &C::trace, false},
      },
      joined(joined(pipeline_fields(), joined(image_fields(), update_fields())),
             joined(network_fields(), joined(pair_fields(), joined(vision_fields(), auxiliary_fields())))));
  return fields;
}

const std::vector<ConfigAlias>& config_aliases() {
  static const std::vector<ConfigAlias> aliases{
      {"train_batch_size", "batch"},
      {"batch_size", "batch"},
      {"base_lr", "lr"},
      {"outputpath", "out"},
      {"pretrained_model", "word_vec"},
      {"max_epochs", "epochs"},
      {"num_of_epochs", "epochs"},
      {"eval_batch_size", "test_batch_size"},
      {"min_lr", "end_lr"},
      {"scheduler", "lr_schedule"},
      {"step_size", "step_every"},
      {"smoothing", "label_smoothing"},
      {"head", "n_heads"},
      {"num_layers", "n_layers"},
      {"drop_p", "dropout"},
      {"learning_rule", "rule"},
      {"dataset", "data"},
      {"dataset_name", "data"},
      {"dataset_path", "data_dir"},
      {"model_name", "model"},
      {"ARA_stride", "ara_stride"},
  };
  return aliases;
}

}  // namespace sluice
