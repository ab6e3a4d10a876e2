package main

import (
	"context"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

type jwtAnswer struct {
	Event    string   `json:"event"`
	ID       string   `json:"id"`
	Audience []string `json:"audience"`
	Expiry   string   `json:"expiry"`
	// Who the agent says the bearer is, asked with ValidateJWTSVID.
	ValidatedByAPI string `json:"validatedByApi"`
	// Who the JWT bundle says the bearer is, without asking anybody.
	ValidatedOffline string `json:"validatedOffline"`
	// The error of the API and of the bundle for an audience that the token was not made for.
	ForeignAudienceByAPI   string `json:"foreignAudienceByApi"`
	ForeignAudienceOffline string `json:"foreignAudienceOffline"`
	// The error of the bundle for the same token under another signature.
	AlteredOffline string `json:"alteredOffline"`
	Token          string `json:"token"`
}

func showJWT(ctx context.Context, audience string) error {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	// Asked without a source first: a source would try again where this caller is refused for good.
	if _, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience}); err != nil {
		return err
	}
	source, err := workloadapi.NewJWTSource(ctx, workloadapi.WithClient(client))
	if err != nil {
		return err
	}
	defer source.Close()
	svid, err := source.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	token := svid.Marshal()
	asked, err := client.ValidateJWTSVID(ctx, token, audience)
	if err != nil {
		return err
	}
	offline, err := jwtsvid.ParseAndValidate(token, source, []string{audience})
	if err != nil {
		return err
	}
	foreign := audience + "-of-somebody-else"
	_, byAPI := client.ValidateJWTSVID(ctx, token, foreign)
	_, byBundle := jwtsvid.ParseAndValidate(token, source, []string{foreign})
	_, alteredByBundle := jwtsvid.ParseAndValidate(altered(token), source, []string{audience})
	say(jwtAnswer{
		Event:                  "jwt",
		ID:                     svid.ID.String(),
		Audience:               svid.Audience,
		Expiry:                 svid.Expiry.UTC().Format(time.RFC3339),
		ValidatedByAPI:         asked.ID.String(),
		ValidatedOffline:       offline.ID.String(),
		ForeignAudienceByAPI:   text(byAPI),
		ForeignAudienceOffline: text(byBundle),
		AlteredOffline:         text(alteredByBundle),
		Token:                  token,
	})
	return nil
}

// altered gives the token with another signature, in its first character.
func altered(token string) string {
	at := strings.LastIndex(token, ".") + 1
	other := "A"
	if token[at] == 'A' {
		other = "B"
	}
	return token[:at] + other + token[at+1:]
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
