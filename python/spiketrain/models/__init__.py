"""Networks: the notation of the papers (`notation`), the layers (`layers`), the spiking network built of them (`network`), the one
with feedback (`feedback`), models by name (`build`), of residual blocks (`residual`), and how many synapses there are (`synapses`)."""
