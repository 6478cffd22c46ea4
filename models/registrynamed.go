package models

import (
	"context"
	"fmt"
	"slices"
)

// Hold has the files of versions kept from now on, in every process, before an
// experiment names them. [Registry.Name] lets go of them again.
func (r *Registry) Hold(ctx context.Context, numbers []uint32) error {
	return r.store.ChangeModels(ctx, func(all Versions) (Change, error) {
		return Change{Put: all.Hold(numbers, false)}, nil
	})
}

// Name says which versions experiments name by now. The files of those in held
// are kept as long as they are. Those in served, at most [MaxNamed], predict in
// this process where an arm names them, see [Predictor.Use], unless
// [Registry.Unusable] says why not.
func (r *Registry) Name(ctx context.Context, held, served []uint32) error {
	served = slices.Compact(slices.Sorted(slices.Values(served)))
	if len(served) > MaxNamed {
		return fmt.Errorf("experiments name %d versions of the model, and at most %d can serve", len(served), MaxNamed)
	}
	err := r.store.ChangeModels(ctx, func(all Versions) (Change, error) {
		return Change{Put: all.Hold(held, true)}, nil
	})
	if err != nil {
		return err
	}
	if err := r.Refresh(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.named
	r.named = served
	if err := r.load(ctx, r.all); err != nil {
		r.named = before
		return err
	}
	return nil
}

// Unusable says of each of the versions with these numbers that cannot predict
// why not: there is none, its file is not kept any more, or this program cannot
// use it, as far as that is known.
func (r *Registry) Unusable(ctx context.Context, numbers []uint32) (map[uint32]error, error) {
	if len(numbers) == 0 {
		return nil, nil
	}
	all, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	why := map[uint32]error{}
	for _, number := range numbers {
		if _, err := all.usable(number); err != nil {
			why[number] = err
		} else if err := r.Problem(number); err != nil {
			why[number] = fmt.Errorf("version %d: %w", number, err)
		}
	}
	return why, nil
}

// Check reports why a version cannot predict, nil where it can. It reads the
// file unless that is at hand.
func (r *Registry) Check(ctx context.Context, number uint32) error {
	all, err := r.List(ctx)
	if err != nil {
		return err
	}
	if _, err := all.usable(number); err != nil {
		return err
	}
	return r.check(ctx, number)
}
