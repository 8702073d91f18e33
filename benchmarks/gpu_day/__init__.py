"""The served ensemble on a GPU host without a network: pack what it lacks, assemble it there, measure."""
