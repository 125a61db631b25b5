"""The diffusion-HJB agent: a diffusion generator of the dynamics, a Hamiltonian value flow, a Hamiltonian argmax."""
